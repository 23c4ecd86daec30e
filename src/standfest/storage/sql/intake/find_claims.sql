-- Who holds the keys of a batch, and whether this transaction claimed them: a row that it wrote carries its id in xmin.
-- Read after the claim, so that rows it waited for are seen.
SELECT
    orders.client_id,
    orders.idempotency_key,
    orders.order_id,
    orders.xmin = pg_current_xact_id()::xid AS mine
FROM unnest(%(client_id)s::uuid [], %(idempotency_key)s::text []) AS wanted (client_id, idempotency_key)
INNER JOIN orders
    ON wanted.client_id = orders.client_id AND wanted.idempotency_key = orders.idempotency_key
