-- The oldest transaction id that is still in use: the feed serves what lies below. And the first one that was not given
-- out yet.
SELECT
    pg_snapshot_xmin(snapshot.now)::text AS oldest_running,
    pg_snapshot_xmax(snapshot.now)::text AS next_id
FROM (SELECT pg_current_snapshot() AS now) AS snapshot
