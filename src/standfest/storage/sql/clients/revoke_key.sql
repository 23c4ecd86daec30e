-- Ends a key for good. One that was revoked before keeps its time.
UPDATE client_key
SET revoked_at = coalesce(revoked_at, clock_timestamp())
WHERE id = %(id)s
RETURNING revoked_at
