-- A key: its public id and the hash of its secret.
INSERT INTO client_key (id, client_id, secret_hash)
VALUES (%(id)s, %(client_id)s, %(secret_hash)s)
