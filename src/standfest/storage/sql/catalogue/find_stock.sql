-- The stock of one product, by SKU.
SELECT
    product.sku,
    product.unit_decimals,
    stock.on_hand,
    stock.reserved,
    stock.version_past + stock.version AS version
FROM product
INNER JOIN stock ON product.id = stock.product_id
WHERE product.sku = %(sku)s
