-- Up to where this transaction sees everything (all transactions below have ended), and which server says so:
-- after a failover transaction ids may start again a little lower, because ids that wrote nothing are not
-- replicated.
SELECT
    pg_snapshot_xmin(pg_current_snapshot())::text AS horizon,
    concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time()) AS server
