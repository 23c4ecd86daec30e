-- All clients, by name, with the number of keys that are valid.
SELECT
    client.id,
    client.name,
    client.scopes,
    client.created_at,
    (
        SELECT count(*)
        FROM client_key
        WHERE client_key.client_id = client.id AND client_key.revoked_at IS NULL
    ) AS valid_keys
FROM client
ORDER BY client.name
