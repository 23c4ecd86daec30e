-- Orders in a crowd, as rows like those of the benchmarks, for measuring among many: they reserve nothing.
WITH new AS MATERIALIZED (
    SELECT
        gen_random_uuid() AS order_id,
        floor(random() * 100)::integer AS customer
    FROM generate_series(1, %(orders)s)
),

head AS (
    INSERT INTO orders (
        order_id, client_id, idempotency_key, request_hash, content_hash, status, path, accepted_at,
        customer_reference, external_reference, currency, net, gross, agreed
    )
    SELECT
        order_id, %(client)s::uuid, 'fill-' || order_id::text, sha256(uuid_send(order_id)),
        sha256(uuid_send(order_id)), 'confirmed', 'direct', now(), 'C-' || lpad(customer::text, 4, '0'),
        'fill-' || left(order_id::text, 12), 'EUR', 157.50, 187.43, %(agreed)s::jsonb
    FROM new
    RETURNING id, order_id
),

wanted AS MATERIALIZED (
    SELECT
        head.id,
        position,
        (position - 1) * 3333 + floor(random() * 3333)::integer AS number
    FROM head, generate_series(1, 3) AS position
),

line AS (
    INSERT INTO order_line (
        order_ref, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity, unit_price, net,
        tax_class, tax_category, tax_rate, stock_policy, reserved, backordered
    )
    SELECT
        id, position, %(first_product)s + number, 'BENCH-' || lpad(number::text, 5, '0'),
        'Artikel ' || lpad(number::text, 5, '0'), 'Article ' || lpad(number::text, 5, '0'), 'piece', 0, 5, 10.5000,
        52.50, 'standard', 'S', 19.00, 'untracked', 0, 0
    FROM wanted
),

event AS (
    INSERT INTO order_event (order_ref, version, type, actor, at, content_hash, chain_hash)
    SELECT
        id, 1, 'order.confirmed', 'client:' || %(client)s::text, now(), sha256(uuid_send(order_id)),
        sha256(uuid_send(order_id))
    FROM head
)

INSERT INTO change (type, order_id, client_id, version, at)
SELECT 'order.confirmed', order_id, %(client)s::uuid, 1, now()
FROM head
