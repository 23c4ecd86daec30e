-- Reserves (more than 0) or gives back (less than 0) stock: locks the rows in the one order that everybody keeps, and
-- changes them in the same statement, so that nobody waits for what is done between the two.
WITH locked AS MATERIALIZED (
    SELECT
        stock.product_id,
        moved.quantity
    FROM unnest(%(product_id)s::bigint [], %(quantity)s::bigint []) AS moved (product_id, quantity)
    INNER JOIN stock ON moved.product_id = stock.product_id
    ORDER BY stock.product_id
    FOR NO KEY UPDATE OF stock
)

UPDATE stock
SET
    reserved = stock.reserved + locked.quantity,
    version = mod(stock.version, 2147483647) + 1,
    version_past = stock.version_past + stock.version / 2147483647 * 2147483647
FROM locked
WHERE stock.product_id = locked.product_id
