-- The feed's orders and the events that they stand for, as counts and sums of hashes: equal where each has the other.
-- What the feed has of the catalogue below a transaction never changes: its sum is compared with the one before.
WITH told AS (
    SELECT
        count(*) FILTER (WHERE order_id IS NOT NULL) AS orders,
        sum(hash_record_extended(row(order_id, client_id, version, type, at), 0))
        FILTER (WHERE order_id IS NOT NULL) AS orders_sum,
        sum(hash_record_extended(row(transaction_id, sequence, sku, version, type, at), 0))
        FILTER (WHERE order_id IS NULL AND transaction_id < %(before)s::text::xid8) AS catalogue_before,
        sum(hash_record_extended(row(transaction_id, sequence, sku, version, type, at), 0))
        FILTER (
            WHERE order_id IS NULL AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        ) AS catalogue_now
    FROM change
),

happened AS (
    SELECT
        count(*) AS orders,
        sum(hash_record_extended(row(orders.order_id, orders.client_id, event.version, event.type, event.at), 0))
            AS orders_sum
    FROM order_event AS event
    INNER JOIN orders ON event.order_ref = orders.id
    WHERE orders.client_id <> %(synthetic)s::uuid
)

SELECT
    (told.orders, told.orders_sum) IS NOT DISTINCT FROM (happened.orders, happened.orders_sum) AS orders_well,
    coalesce(told.catalogue_before, 0)::text AS catalogue_before,
    coalesce(told.catalogue_now, 0)::text AS catalogue_now,
    pg_snapshot_xmin(pg_current_snapshot())::text AS upto
FROM told
CROSS JOIN happened
