-- One product by its SKU.
SELECT
    id, sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, stock_policy,
    version_past + version AS version
FROM product
WHERE sku = %(sku)s
