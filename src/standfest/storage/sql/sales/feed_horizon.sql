-- The oldest transaction id that is still in use: the feed serves what lies below. And one past the highest whose
-- transaction has ended: whatever was committed before has a lower one, and transactions that run may have higher ones.
SELECT
    pg_snapshot_xmin(snapshot.now)::text AS oldest_running,
    pg_snapshot_xmax(snapshot.now)::text AS next_id
FROM (SELECT pg_current_snapshot() AS now) AS snapshot
