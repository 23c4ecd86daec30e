-- What of the orders between two ingest positions never changes lawfully, and what a receipt says; synthetic orders are
-- no business.
SELECT
    orders.id,
    orders.order_id,
    orders.request_hash,
    orders.accepted_at,
    orders.path,
    event.type,
    event.content_hash,
    event.chain_hash
FROM orders
LEFT JOIN order_event AS event ON orders.id = event.order_ref AND event.version = 1
WHERE orders.id BETWEEN %(first)s::bigint AND %(last)s::bigint AND orders.client_id <> %(synthetic)s::uuid
ORDER BY orders.id
