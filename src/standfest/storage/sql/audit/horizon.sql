-- How far ingest positions are given out, where the audit begins, the oldest transaction id that is in use, and one past
-- the highest whose transaction has ended: ids from there on may be in use as well.
SELECT
    (SELECT coalesce(max(id), 0) FROM orders) AS newest,
    (SELECT position FROM audit_baseline) AS baseline,
    pg_snapshot_xmin(pg_current_snapshot())::text::numeric AS oldest_running,
    pg_snapshot_xmax(pg_current_snapshot())::text::numeric AS beyond_ended
