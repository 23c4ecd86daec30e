-- Claims the identities of a batch: one row an order whose (client, key) was never seen.
-- Keys are taken in one order by everybody, so that two batches that overlap wait and never deadlock.
-- A row that another transaction wrote is not seen here (it is younger than this snapshot): it is read
-- by the next statement. Other statements go on from here.
WITH claimed AS (
    INSERT INTO orders (
        order_id, client_id, idempotency_key, request_hash, content_hash, status, path, accepted_at,
        customer_reference, external_reference, currency, net, gross, agreed
    )
    SELECT
        new.order_id, new.client_id, new.idempotency_key, new.request_hash, new.content_hash, new.status,
        new.path, new.accepted_at, new.customer_reference, new.external_reference, new.currency, new.net,
        new.gross, new.agreed
    FROM unnest(
        %(order_id)s::uuid [], %(client_id)s::uuid [], %(idempotency_key)s::text [], %(request_hash)s::bytea [],
        %(content_hash)s::bytea [], %(status)s::text [], %(path)s::text [], %(accepted_at)s::timestamptz [],
        %(customer_reference)s::text [], %(external_reference)s::text [], %(currency)s::text [],
        %(net)s::numeric [], %(gross)s::numeric [], %(agreed)s::jsonb []
    ) AS new (
        order_id, client_id, idempotency_key, request_hash, content_hash, status, path, accepted_at,
        customer_reference, external_reference, currency, net, gross, agreed
    )
    ORDER BY new.client_id, new.idempotency_key COLLATE "C"
    ON CONFLICT DO NOTHING
    RETURNING id, order_id, client_id
)
