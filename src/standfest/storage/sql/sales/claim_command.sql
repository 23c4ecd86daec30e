-- Claims the identity of a command for ever; no row where (client, key) was used before. Whoever comes second with
-- a key waits here for the first, holding nothing but the lock on another order, which the first never wants.
INSERT INTO order_command (client_id, idempotency_key, request_hash, order_ref, version)
SELECT
    %(client_id)s,
    %(idempotency_key)s,
    %(request_hash)s,
    orders.id,
    orders.version + 1
FROM orders
WHERE orders.id = %(order_ref)s
ON CONFLICT DO NOTHING
RETURNING version
