-- Locks the stock of products in the one order that everybody keeps, and says what is free of each for orders that
-- wait for it.
SELECT
    product_id,
    on_hand - reserved AS available
FROM stock
WHERE product_id = any(%(product_id)s::bigint [])
ORDER BY product_id
FOR NO KEY UPDATE
