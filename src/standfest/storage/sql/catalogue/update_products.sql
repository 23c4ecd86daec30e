-- Changes products that are locked. Their unit's decimals stay: stock and orders count in its steps.
UPDATE product
SET
    name_de = new.name_de,
    name_en = new.name_en,
    unit = new.unit,
    net_price = new.net_price,
    tax_class = new.tax_class,
    active = new.active,
    stock_policy = new.stock_policy,
    version = mod(product.version, 2147483647) + 1,
    version_past = product.version_past + product.version / 2147483647 * 2147483647,
    transaction_id = pg_current_xact_id()
FROM unnest(
    %(sku)s::text [], %(name_de)s::text [], %(name_en)s::text [], %(unit)s::text [],
    %(net_price)s::numeric [], %(tax_class)s::text [], %(active)s::boolean [], %(stock_policy)s::text []
) AS new (
    sku, name_de, name_en, unit, net_price, tax_class, active, stock_policy
)
WHERE product.sku = new.sku COLLATE "C" AND product.id = any(%(locked_id)s::bigint [])
RETURNING product.sku, product.version_past + product.version
