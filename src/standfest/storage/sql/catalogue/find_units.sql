-- Id and decimals of the unit of products, by SKU.
SELECT
    sku,
    id,
    unit_decimals
FROM product
WHERE sku = any(%(sku)s::text [])
