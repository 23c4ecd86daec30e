-- The newest change of some products' stock that the feed has of transactions from one on.
SELECT
    sku,
    max(version_past + version) AS version
FROM change
WHERE transaction_id >= %(since)s::text::xid8 AND sku = any(%(sku)s::text []) AND type LIKE 'stock.%%'
GROUP BY sku
