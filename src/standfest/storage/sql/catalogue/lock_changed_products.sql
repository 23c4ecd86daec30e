-- Locks the products that differ from what they shall be, in ascending id. Those that are the same are left
-- alone: no lock, no new version.
SELECT
    product.id,
    product.sku,
    product.unit_decimals
FROM unnest(
    %(sku)s::text [], %(name_de)s::text [], %(name_en)s::text [], %(unit)s::text [],
    %(unit_decimals)s::smallint [], %(net_price)s::numeric [], %(tax_class)s::text [], %(active)s::boolean [],
    %(stock_policy)s::text []
) AS new (
    sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, stock_policy
)
INNER JOIN product ON product.sku = new.sku COLLATE "C"
WHERE
    (
        product.name_de, product.name_en, product.unit, product.unit_decimals, product.net_price,
        product.tax_class, product.active, product.stock_policy
    ) IS DISTINCT FROM (
        new.name_de, new.name_en, new.unit, new.unit_decimals, new.net_price,
        new.tax_class, new.active, new.stock_policy
    )
ORDER BY product.id
FOR NO KEY UPDATE OF product
