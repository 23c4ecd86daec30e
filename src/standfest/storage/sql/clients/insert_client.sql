-- A new client; no row where the name is taken.
INSERT INTO client (id, name, scopes)
VALUES (%(id)s, %(name)s, %(scopes)s)
ON CONFLICT (name) DO NOTHING
RETURNING id
