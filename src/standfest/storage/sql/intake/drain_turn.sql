-- Whether no other drainer is at it; until the end of the transaction. Only drainers use this number ("STFDDRAI").
SELECT pg_try_advisory_xact_lock(6004501462209675593)
