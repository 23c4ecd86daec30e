-- One order of the benchmarks, written by one statement in one transaction: the rows that the product writes for it
-- (tests/integration/test_bench.py compares them), and nothing else: no HTTP, no validation, no repeats, no shortages.
\set customer random(0, 99)
\set p1 random(0, 3332)
\set p2 random(3333, 6665)
\set p3 random(6666, 9998)
\set q1 random(1, 9)
\set q2 random(1, 9)
\set q3 random(1, 9)
WITH wanted (position, number, quantity) AS (
    VALUES
    (1::smallint, :p1::bigint, :q1::bigint),
    (2::smallint, :p2::bigint, :q2::bigint),
    (3::smallint, :p3::bigint, :q3::bigint)
),

locked AS MATERIALIZED (
    SELECT
        stock.product_id,
        wanted.quantity
    FROM wanted
    INNER JOIN stock ON :first_product::bigint + wanted.number = stock.product_id
    ORDER BY stock.product_id
    FOR NO KEY UPDATE OF stock
),

taken AS (
    UPDATE stock
    SET reserved = stock.reserved + locked.quantity, version = stock.version + 1
    FROM locked
    WHERE stock.product_id = locked.product_id AND stock.on_hand - stock.reserved >= locked.quantity
),

new AS MATERIALIZED (
    SELECT
        gen_random_uuid() AS order_id,
        (SELECT sum(quantity) FROM wanted) * 10.50 AS net
),

head AS (
    INSERT INTO orders (
        order_id, client_id, idempotency_key, request_hash, content_hash, status, path, accepted_at,
        customer_reference, external_reference, currency, net, gross, agreed
    )
    SELECT
        order_id, :client::uuid, :run::text || '-' || left(order_id::text, 8), sha256(uuid_send(order_id)),
        sha256(uuid_send(order_id)), 'confirmed', 'direct', now(), 'C-' || lpad(:customer::text, 4, '0'),
        :run::text || '-' || left(order_id::text, 8), 'EUR', net, round(net * 1.19, 2), :agreed::jsonb
    FROM new
    ON CONFLICT DO NOTHING
    RETURNING id, order_id
),

line AS (
    INSERT INTO order_line (
        order_ref, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity, unit_price, net,
        tax_class, tax_category, tax_rate, stock_policy, reserved, backordered
    )
    SELECT
        head.id, wanted.position, :first_product::bigint + wanted.number,
        'BENCH-' || lpad(wanted.number::text, 5, '0'), 'Artikel ' || lpad(wanted.number::text, 5, '0'),
        'Article ' || lpad(wanted.number::text, 5, '0'), 'piece', 0, wanted.quantity, 10.5000,
        10.50 * wanted.quantity, 'standard', 'S', 19.00, 'tracked', wanted.quantity, 0
    FROM head, wanted
),

event AS (
    INSERT INTO order_event (order_ref, version, type, actor, at, content_hash, chain_hash)
    SELECT
        id, 1, 'order.confirmed', 'client:' || :client::text, now(), sha256(uuid_send(order_id)),
        sha256(uuid_send(order_id))
    FROM head
),

outbox AS (
    INSERT INTO change (type, order_id, client_id, version, at)
    SELECT 'order.confirmed', order_id, :client::uuid, 1, now()
    FROM head
)

SELECT pg_logical_emit_message(true, 'standfest', '');
