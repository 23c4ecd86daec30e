-- Reserves (more than 0) or gives back (less than 0) stock whose rows are locked.
UPDATE stock
SET reserved = stock.reserved + moved.quantity, version = stock.version + 1
FROM unnest(%(product_id)s::bigint [], %(quantity)s::bigint []) AS moved (product_id, quantity)
WHERE stock.product_id = moved.product_id
