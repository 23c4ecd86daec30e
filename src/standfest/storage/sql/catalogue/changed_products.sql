-- Products written by a transaction at or above a position, page by page in the order of (transaction, id).
SELECT
    id, sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, stock_policy,
    version_past + version AS version,
    transaction_id::text
FROM product
WHERE (transaction_id, id) > (%(transaction_id)s::xid8, %(id)s::bigint)
ORDER BY transaction_id, id
LIMIT %(limit)s
