-- The chain hash of each order's newest event, for the next one to follow.
SELECT
    orders.order_id,
    event.chain_hash
FROM orders
INNER JOIN order_event AS event ON orders.id = event.order_ref AND orders.version = event.version
WHERE orders.order_id = any(%(order_id)s::uuid [])
