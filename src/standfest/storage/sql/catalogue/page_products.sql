-- Products in the order in which they were created, from behind an id.
SELECT
    id, sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, stock_policy,
    version_past + version AS version
FROM product
WHERE id > %(after_id)s::bigint
ORDER BY id
LIMIT %(limit)s
