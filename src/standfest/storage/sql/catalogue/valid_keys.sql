-- The keys that let a client in now, with what it may do.
SELECT
    client_key.id,
    client_key.secret_hash,
    client.id,
    client.name,
    client.scopes
FROM client_key
INNER JOIN client ON client_key.client_id = client.id
WHERE client_key.revoked_at IS NULL
ORDER BY client_key.id
LIMIT %(limit)s
