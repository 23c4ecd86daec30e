-- The keys of one client, the oldest first. What is secret about them is not in the database.
SELECT
    client_key.id,
    client_key.created_at,
    client_key.revoked_at
FROM client_key
INNER JOIN client ON client_key.client_id = client.id
WHERE client.name = %(name)s
ORDER BY client_key.created_at, client_key.id
