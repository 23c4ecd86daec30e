-- The turn's transaction stands idle while a batch is written by another connection.
SET LOCAL idle_in_transaction_session_timeout = '6s'
