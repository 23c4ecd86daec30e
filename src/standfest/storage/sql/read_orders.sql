-- Whole orders with their lines, by id, in one statement and so in one snapshot.
SELECT
    orders.order_id,
    orders.client_id,
    orders.idempotency_key,
    orders.request_hash,
    orders.content_hash,
    orders.status,
    orders.version,
    orders.path,
    orders.accepted_at,
    orders.external_reference,
    orders.currency,
    orders.net,
    orders.gross,
    orders.agreed::text,
    orders.id,
    array(
        SELECT
            row(
                line.position, line.product_id, line.sku, line.name_de, line.name_en, line.unit,
                line.unit_decimals, line.quantity, line.unit_price, line.net, line.tax_class,
                line.tax_category, line.tax_rate, line.stock_policy, line.reserved, line.backordered,
                line.cancelled, line.note
            )
        FROM order_line AS line
        WHERE line.order_ref = orders.id
        ORDER BY line.position
    ) AS lines
FROM orders
WHERE orders.order_id = any(%(order_id)s::uuid [])
