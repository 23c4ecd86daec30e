-- The feed of changes behind a position, only as far as no transaction can still add to it: below the oldest one
-- that is running. Of the rows that are looked at, a client is shown its own orders and the catalogue; the last
-- one looked at comes in any case, so that a reader gets on where nothing is for it.
WITH scanned AS MATERIALIZED (
    SELECT
        transaction_id,
        sequence,
        type,
        coalesce(order_id::text, sku) AS subject,
        version_past + version AS version,
        at,
        coalesce(client_id = %(client_id)s::uuid, TRUE) AS visible
    FROM change
    WHERE
        (transaction_id, sequence) > (%(transaction_id)s::xid8, %(sequence)s::bigint)
        AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY transaction_id, sequence
    LIMIT %(scan)s
),

last AS (
    SELECT
        transaction_id,
        sequence
    FROM scanned
    ORDER BY transaction_id DESC, sequence DESC
    LIMIT 1
)

SELECT
    scanned.transaction_id::text,
    scanned.sequence,
    scanned.type,
    scanned.subject,
    scanned.version,
    scanned.at,
    scanned.visible
FROM scanned
INNER JOIN last ON TRUE
WHERE scanned.visible OR (scanned.transaction_id, scanned.sequence) = (last.transaction_id, last.sequence)
ORDER BY scanned.transaction_id, scanned.sequence
LIMIT %(limit)s + 1
