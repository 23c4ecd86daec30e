-- Orders at some ingest positions, with all columns that the audit compares, and their lines.
SELECT
    orders.id,
    orders.order_id,
    orders.client_id,
    orders.idempotency_key,
    orders.request_hash,
    orders.content_hash,
    orders.status,
    orders.version,
    orders.customer_reference,
    orders.currency,
    orders.net,
    orders.gross,
    orders.agreed::text,
    (
        SELECT
            json_agg(
                json_build_object(
                    'position', line.position,
                    'product_id', line.product_id,
                    'sku', line.sku,
                    'name_de', line.name_de,
                    'name_en', line.name_en,
                    'unit', line.unit,
                    'unit_decimals', line.unit_decimals,
                    'quantity', line.quantity,
                    'unit_price', line.unit_price,
                    'net', line.net,
                    'tax_class', line.tax_class,
                    'tax_category', line.tax_category,
                    'tax_rate', line.tax_rate,
                    'stock_policy', line.stock_policy,
                    'reserved', line.reserved,
                    'backordered', line.backordered,
                    'cancelled', line.cancelled,
                    'note', line.note
                )
                ORDER BY line.position
            )::text
        FROM order_line AS line
        WHERE line.order_ref = orders.id
    ) AS lines
FROM orders
WHERE orders.id = any(%(position)s::bigint [])
