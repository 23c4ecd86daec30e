-- Products of which something else is reserved, or counted as waited for, than their order lines say, in one snapshot.
WITH promised AS (
    SELECT
        product_id,
        sum(reserved) AS reserved,
        sum(backordered) AS backordered
    FROM order_line
    WHERE reserved > 0 OR backordered > 0
    GROUP BY product_id
)

SELECT
    coalesce(product.sku, coalesce(stock.product_id, promised.product_id)::text) AS sku,
    stock.reserved,
    coalesce(promised.reserved, 0) AS promised,
    stock.backordered,
    coalesce(promised.backordered, 0) AS waiting
FROM stock
FULL JOIN promised ON stock.product_id = promised.product_id
LEFT JOIN product ON coalesce(stock.product_id, promised.product_id) = product.id
WHERE
    stock.reserved IS DISTINCT FROM coalesce(promised.reserved, 0)
    OR stock.backordered IS DISTINCT FROM coalesce(promised.backordered, 0)
ORDER BY 1
LIMIT 100
