-- Seals a block, once.
INSERT INTO audit_seal (block, orders, marks, digest, sealed_by)
VALUES (%(block)s::bigint, %(orders)s::integer, %(marks)s::bytea, %(digest)s::bytea, %(node)s::text)
ON CONFLICT DO NOTHING
