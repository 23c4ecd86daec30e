-- Changes of orders that are in the feed and did not happen, and such that happened and are not in it, or not once.
WITH told AS (
    SELECT
        order_id,
        client_id,
        version,
        type,
        at,
        count(*) AS times
    FROM change
    WHERE order_id IS NOT NULL
    GROUP BY order_id, client_id, version, type, at
),

happened AS (
    SELECT
        orders.order_id,
        orders.client_id,
        event.version,
        event.type,
        event.at
    FROM order_event AS event
    INNER JOIN orders ON event.order_ref = orders.id
    WHERE orders.client_id <> %(synthetic)s::uuid
)

SELECT
    coalesce(told.order_id, happened.order_id) AS order_id,
    coalesce(told.version, happened.version) AS version,
    coalesce(told.type, happened.type) AS type,
    coalesce(told.times, 0) AS times,
    happened.order_id IS NOT NULL AS happened
FROM told
FULL JOIN happened
    ON
        told.order_id = happened.order_id AND told.client_id = happened.client_id AND told.version = happened.version
        AND told.type = happened.type AND told.at = happened.at
WHERE told.times IS DISTINCT FROM 1 OR happened.order_id IS NULL
LIMIT 100
