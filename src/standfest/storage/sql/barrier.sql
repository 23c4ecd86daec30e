-- Writes WAL whatever else the transaction did, so that its commit waits for the standby.
SELECT pg_logical_emit_message(true, 'standfest', '')
