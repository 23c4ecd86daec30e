-- When this server was started: between two starts a primary stays the same primary. It also takes the snapshot.
SELECT extract(EPOCH FROM pg_postmaster_start_time())
