-- One event for each order that changed, and its line in the feed of changes.
WITH event AS MATERIALIZED (
    SELECT
        orders.id AS order_ref,
        orders.client_id,
        new.*
    FROM unnest(
        %(order_id)s::uuid [], %(version)s::integer [], %(type)s::text [], %(actor)s::text [],
        %(at)s::timestamptz [], %(reason)s::text [], %(data)s::jsonb [], %(content_hash)s::bytea [],
        %(chain_hash)s::bytea []
    ) AS new (order_id, version, type, actor, at, reason, data, content_hash, chain_hash)
    INNER JOIN orders ON new.order_id = orders.order_id
),

written_event AS (
    INSERT INTO order_event (order_ref, version, type, actor, at, reason, data, content_hash, chain_hash)
    SELECT order_ref, version, type, actor, at, reason, data, content_hash, chain_hash
    FROM event
)

INSERT INTO change (type, order_id, client_id, version, at)
SELECT type, order_id, client_id, version, at
FROM event
ORDER BY order_ref
