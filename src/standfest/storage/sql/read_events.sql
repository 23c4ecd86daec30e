-- The events of some orders, oldest first.
SELECT
    orders.order_id,
    event.version,
    event.type,
    event.actor,
    event.at,
    event.reason,
    event.data,
    event.content_hash,
    event.chain_hash
FROM orders
INNER JOIN order_event AS event ON orders.id = event.order_ref
WHERE orders.order_id = any(%(order_id)s::uuid [])
ORDER BY event.order_ref, event.version
