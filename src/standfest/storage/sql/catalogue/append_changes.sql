-- Tells the readers of the feed of changes which products or stock counts changed.
INSERT INTO change (type, sku, version, version_past, at)
SELECT
    %(type)s,
    changed.sku,
    (mod(changed.version - 1, 2147483647) + 1)::integer,
    (changed.version - 1) / 2147483647 * 2147483647,
    %(at)s
FROM unnest(%(sku)s::text [], %(version)s::bigint []) AS changed (sku, version)
ORDER BY changed.sku COLLATE "C"
