-- Who holds the keys of a batch, read after the insert, so that rows it waited for are seen.
SELECT
    orders.client_id,
    orders.idempotency_key,
    orders.order_id
FROM unnest(%(client_id)s::uuid [], %(idempotency_key)s::text []) AS wanted (client_id, idempotency_key)
INNER JOIN orders
    ON wanted.client_id = orders.client_id AND wanted.idempotency_key = orders.idempotency_key
