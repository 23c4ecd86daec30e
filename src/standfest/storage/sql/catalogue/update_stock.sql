-- Sets the counts of stock rows that are locked.
UPDATE stock
SET
    on_hand = new.on_hand,
    version = mod(stock.version, 2147483647) + 1,
    version_past = stock.version_past + stock.version / 2147483647 * 2147483647
FROM unnest(%(product_id)s::bigint [], %(on_hand)s::bigint []) AS new (product_id, on_hand)
WHERE stock.product_id = new.product_id AND stock.product_id = any(%(locked_id)s::bigint [])
RETURNING stock.product_id, stock.version_past + stock.version
