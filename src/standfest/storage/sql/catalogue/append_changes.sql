-- Tells the readers of the feed of changes which products or stock counts changed.
INSERT INTO change (type, sku, version, at)
SELECT
    %(type)s,
    changed.sku,
    changed.version,
    %(at)s
FROM unnest(%(sku)s::text [], %(version)s::integer []) AS changed (sku, version)
ORDER BY changed.sku COLLATE "C"
