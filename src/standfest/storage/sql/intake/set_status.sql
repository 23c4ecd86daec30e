-- Says of orders that this transaction claimed as confirmed what was decided instead.
UPDATE orders
SET status = decided.status
FROM unnest(%(order_id)s::uuid [], %(status)s::text []) AS decided (order_id, status)
WHERE orders.order_id = decided.order_id AND orders.xmin = pg_current_xact_id()::xid
