-- Locks the stock rows whose count differs from the new one, in ascending product_id.
SELECT stock.product_id
FROM unnest(%(product_id)s::bigint [], %(on_hand)s::bigint []) AS new (product_id, on_hand)
INNER JOIN stock ON new.product_id = stock.product_id
WHERE stock.on_hand <> new.on_hand
ORDER BY stock.product_id
FOR NO KEY UPDATE OF stock
