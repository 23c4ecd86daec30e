-- What receipts of some orders may speak of: the request hash, and every content hash that was ever agreed.
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
    orders.id AS position
FROM orders
WHERE orders.order_id = any(%(order_id)s::uuid [])
