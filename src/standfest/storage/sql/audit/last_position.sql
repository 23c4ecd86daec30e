-- The highest ingest position.
SELECT coalesce(max(id), 0) FROM orders
