-- The ingest positions of some orders; synthetic orders are no business.
SELECT id
FROM orders
WHERE order_id = any(%(order_id)s::uuid []) AND client_id <> %(synthetic)s::uuid
