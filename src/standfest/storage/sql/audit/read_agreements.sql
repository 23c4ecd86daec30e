-- What receipts of some orders may speak of: the request hash, every content hash that was ever agreed, and what was
-- decided at first.
SELECT
    orders.order_id,
    encode(orders.request_hash, 'hex') AS request_hash,
    coalesce(
        (
            SELECT
                string_agg(
                    concat_ws(
                        ' ',
                        encode(event.content_hash, 'hex'),
                        CASE WHEN event.type = 'order.agreed_again' THEN event.data ->> 'agreed_hash' END
                    ),
                    ' '
                )
            FROM order_event AS event
            WHERE event.order_ref = orders.id
        ),
        ''
    ) AS content_hashes,
    orders.id AS position,
    coalesce(
        (
            SELECT event.type
            FROM order_event AS event
            WHERE event.order_ref = orders.id
            ORDER BY event.version
            LIMIT 1
        ),
        ''
    ) AS first_event
FROM orders
WHERE orders.order_id = any(%(order_id)s::uuid [])
