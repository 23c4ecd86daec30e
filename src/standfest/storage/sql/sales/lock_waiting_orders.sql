-- Locks orders that still wait for goods, in ascending id.
SELECT order_id
FROM orders
WHERE id = any(%(order_ref)s::bigint []) AND status = 'backordered'
ORDER BY id
FOR NO KEY UPDATE
