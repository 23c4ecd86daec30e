-- The keys of one client that are valid now.
SELECT id
FROM client_key
WHERE client_id = %(client_id)s AND revoked_at IS NULL
ORDER BY created_at, id
