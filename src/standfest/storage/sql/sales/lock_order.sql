-- Locks one order, if it is there and, where a client is given, that client's.
SELECT id
FROM orders
WHERE order_id = %(order_id)s AND client_id = coalesce(%(client_id)s::uuid, client_id)
FOR NO KEY UPDATE
