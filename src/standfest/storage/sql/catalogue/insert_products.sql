-- Creates the products that are not there yet, in the one order that everybody keeps (SKU, bytewise), so that
-- two imports that overlap wait and never deadlock.
INSERT INTO product (
    sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, stock_policy
)
SELECT
    new.sku, new.name_de, new.name_en, new.unit, new.unit_decimals, new.net_price, new.tax_class, new.active,
    new.stock_policy
FROM unnest(
    %(sku)s::text [], %(name_de)s::text [], %(name_en)s::text [], %(unit)s::text [],
    %(unit_decimals)s::smallint [], %(net_price)s::numeric [], %(tax_class)s::text [], %(active)s::boolean [],
    %(stock_policy)s::text []
) AS new (
    sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, stock_policy
)
WHERE NOT EXISTS (SELECT FROM product WHERE product.sku = new.sku COLLATE "C")
ORDER BY new.sku COLLATE "C"
ON CONFLICT (sku) DO NOTHING
RETURNING id, sku
