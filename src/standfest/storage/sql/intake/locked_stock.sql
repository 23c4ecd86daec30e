-- Of these products, those whose stock somebody else has locked now, and who by the sign that he left in the row. It
-- locks the others, so its transaction has to be rolled back at once.
WITH free AS MATERIALIZED (
    SELECT product_id
    FROM stock
    WHERE product_id = any(%(product_id)s::bigint [])
    FOR NO KEY UPDATE SKIP LOCKED
)

SELECT
    product_id,
    xmax::text AS holder
FROM stock
WHERE product_id = any(%(product_id)s::bigint []) AND product_id NOT IN (SELECT free.product_id FROM free)
