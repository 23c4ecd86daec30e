-- A page of orders, the newest first, each with its number of lines; a condition counts only where a value is given.
SELECT
    id,
    order_id,
    coalesce((SELECT max(line.position) FROM order_line AS line WHERE line.order_ref = orders.id), 0) AS lines
FROM orders
WHERE
    client_id <> '00000000-0000-8000-8000-000000000001' -- a synthetic order is no business
    AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s::bigint)
    AND (%(client_id)s::uuid IS NULL OR client_id = %(client_id)s::uuid)
    AND (%(status)s::text IS NULL OR status = %(status)s::text)
    AND (%(customer)s::text IS NULL OR customer_reference = %(customer)s::text)
    AND (%(external_reference)s::text IS NULL OR external_reference = %(external_reference)s::text)
    AND (
        %(lowest)s::uuid IS NULL
        OR (order_id >= %(lowest)s::uuid AND order_id <= %(highest)s::uuid)
    )
ORDER BY id DESC
LIMIT %(limit)s
