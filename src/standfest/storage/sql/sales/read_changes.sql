-- The feed of changes behind a position, only as far as no transaction can still add to it: below the oldest one
-- that is running. Of the rows that are looked at, a client is shown its own orders and the catalogue; the last
-- one looked at comes in any case, so that a reader gets on where nothing is for it. One row comes always, and says
-- whether the position is one: the start, or a change that is there and was to be read.
WITH known AS MATERIALIZED (
    SELECT
        (%(transaction_id)s::xid8 = '0'::xid8 AND %(sequence)s::bigint = 0)
        OR EXISTS (
            SELECT
            FROM change
            WHERE
                transaction_id = %(transaction_id)s::xid8
                AND sequence = %(sequence)s::bigint
                AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        ) AS position_known
),

scanned AS MATERIALIZED (
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
),

served AS (
    SELECT scanned.*
    FROM scanned
    INNER JOIN last ON TRUE
    WHERE scanned.visible OR (scanned.transaction_id, scanned.sequence) = (last.transaction_id, last.sequence)
    ORDER BY scanned.transaction_id, scanned.sequence
    LIMIT %(limit)s + 1
)

SELECT
    known.position_known,
    served.transaction_id::text,
    served.sequence,
    served.type,
    served.subject,
    served.version,
    served.at,
    served.visible
FROM known
LEFT JOIN served ON TRUE
ORDER BY served.transaction_id, served.sequence
