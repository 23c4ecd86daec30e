-- Locks the stock of the products that a batch wants, in the one order that everybody keeps, and says what is free of
-- each for newcomers: goods that orders wait for are theirs.
SELECT
    product_id,
    on_hand - reserved - backordered AS available
FROM stock
WHERE product_id = any(%(product_id)s::bigint [])
ORDER BY product_id
FOR NO KEY UPDATE
