-- What is counted of each product.
SELECT
    product.sku,
    stock.on_hand,
    stock.version_past + stock.version AS version
FROM stock
INNER JOIN product ON stock.product_id = product.id
