-- All events of the orders at some ingest positions, oldest first.
SELECT
    event.order_ref,
    event.version,
    event.type,
    event.actor,
    -- null where it is nothing that a client can read as a moment: infinity, before Christ, after year 9999
    CASE WHEN event.at >= '0001-01-02 00:00+00' AND event.at < '9999-12-31 00:00+00' THEN event.at END AS at,
    event.reason,
    event.data::text,
    event.content_hash,
    event.chain_hash
FROM order_event AS event
WHERE event.order_ref = any(%(position)s::bigint [])
ORDER BY event.order_ref, event.version
