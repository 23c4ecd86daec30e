-- Reserves (more than 0) or gives back (less than 0) stock whose rows are locked.
UPDATE stock
SET
    reserved = stock.reserved + moved.quantity,
    version = mod(stock.version, 2147483647) + 1,
    version_past = stock.version_past + stock.version / 2147483647 * 2147483647
FROM unnest(%(product_id)s::bigint [], %(quantity)s::bigint []) AS moved (product_id, quantity)
WHERE stock.product_id = moved.product_id
