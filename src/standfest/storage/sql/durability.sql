-- Whether a commit would wait for a standby by name, and anybody is there to answer it.
SELECT
    current_setting('synchronous_standby_names') AS names,
    EXISTS (SELECT FROM pg_stat_get_wal_senders()) AS somebody_receives
