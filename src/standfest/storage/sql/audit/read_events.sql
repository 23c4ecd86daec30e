-- All events of the orders at some ingest positions, oldest first.
SELECT
    event.order_ref,
    event.version,
    event.type,
    event.actor,
    event.at,
    event.reason,
    event.data,
    event.content_hash,
    event.chain_hash
FROM order_event AS event
WHERE event.order_ref = any(%(position)s::bigint [])
ORDER BY event.order_ref, event.version
