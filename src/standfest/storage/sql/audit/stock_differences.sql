-- Products of which something else is reserved than their order lines say, in one snapshot.
WITH promised AS (
    SELECT
        product_id,
        sum(reserved) AS reserved
    FROM order_line
    WHERE reserved > 0
    GROUP BY product_id
)

SELECT
    coalesce(product.sku, coalesce(stock.product_id, promised.product_id)::text) AS sku,
    stock.reserved,
    coalesce(promised.reserved, 0) AS promised
FROM stock
FULL JOIN promised ON stock.product_id = promised.product_id
LEFT JOIN product ON coalesce(stock.product_id, promised.product_id) = product.id
WHERE stock.reserved IS DISTINCT FROM coalesce(promised.reserved, 0)
ORDER BY 1
LIMIT 100
