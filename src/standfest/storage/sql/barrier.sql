-- Writes WAL whatever else the transaction did, so that its commit waits for the standby; and says whether it would wait
-- for one by name, and anybody is there to answer it.
SELECT
    pg_logical_emit_message(true, 'standfest', ''),
    current_setting('synchronous_standby_names') AS names,
    EXISTS (SELECT FROM pg_stat_get_wal_senders()) AS somebody_receives
