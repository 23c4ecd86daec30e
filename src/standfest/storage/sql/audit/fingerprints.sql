-- A fingerprint of each order with its lines and events, of those that follow an ingest position; synthetic orders are
-- no business.
SELECT
    orders.id,
    orders.order_id,
    (
        hash_record_extended(orders, 0)
        + coalesce(
            (SELECT sum(hash_record_extended(line, 0)) FROM order_line AS line WHERE line.order_ref = orders.id), 0
        )
        + coalesce(
            (SELECT sum(hash_record_extended(event, 1)) FROM order_event AS event WHERE event.order_ref = orders.id), 0
        )
    )::text AS fingerprint
FROM orders
WHERE orders.id > %(after)s::bigint AND orders.client_id <> %(synthetic)s::uuid
ORDER BY orders.id
LIMIT %(orders_max)s::integer
