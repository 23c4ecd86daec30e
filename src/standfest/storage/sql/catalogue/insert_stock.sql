-- Every product has a stock row, whatever its policy: an empty one for each new product.
INSERT INTO stock (product_id)
SELECT new.product_id
FROM unnest(%(product_id)s::bigint []) AS new (product_id)
ORDER BY new.product_id
