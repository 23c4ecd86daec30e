-- The ingest positions that follow one; synthetic orders are no business.
SELECT id
FROM orders
WHERE id > %(after)s::bigint AND id <= %(upto)s::bigint AND client_id <> %(synthetic)s::uuid
ORDER BY id
LIMIT %(orders_max)s::integer
