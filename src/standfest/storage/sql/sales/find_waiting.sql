-- Products that orders wait for and of which some is free now, with the orders that wait longest for each, and how
-- many lines these have.
-- It walks the partial index of waiting lines from product to product, so where nothing waits it reads nothing.
WITH RECURSIVE waiting (product_id) AS (
    (
        SELECT line.product_id
        FROM order_line AS line
        WHERE line.backordered > 0
        ORDER BY line.product_id
        LIMIT 1
    )
    UNION ALL
    SELECT
        (
            SELECT line.product_id
            FROM order_line AS line
            WHERE line.backordered > 0 AND line.product_id > waiting.product_id
            ORDER BY line.product_id
            LIMIT 1
        )
    FROM waiting
    WHERE waiting.product_id IS NOT NULL
),

supplied AS (
    SELECT waiting.product_id
    FROM waiting
    INNER JOIN stock ON waiting.product_id = stock.product_id
    WHERE stock.on_hand > stock.reserved
    ORDER BY waiting.product_id
    LIMIT %(products_max)s
)

SELECT
    supplied.product_id,
    oldest.order_ref,
    (SELECT max(line.position) FROM order_line AS line WHERE line.order_ref = oldest.order_ref) AS lines
FROM supplied
CROSS JOIN LATERAL (
    SELECT line.order_ref
    FROM order_line AS line
    WHERE line.product_id = supplied.product_id AND line.backordered > 0
    ORDER BY line.order_ref
    LIMIT %(orders_max)s
) AS oldest
