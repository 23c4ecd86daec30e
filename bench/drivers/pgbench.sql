-- The same rows as one order of the measurement, for pgbench: what the servers do without any Python.
\set p1 random(1, 3333)
\set p2 random(3334, 6666)
\set p3 random(6667, 10000)
\set q random(1, 9)
BEGIN;
WITH n AS (SELECT gen_random_uuid() AS id)
INSERT INTO orders (order_id, client_id, idempotency_key, request_hash, content_hash, status, path, accepted_at,
                    customer_reference, external_reference, currency, net, gross, agreed)
SELECT n.id, '6a1f2f0e-1c5b-4c39-9d51-0d1f9f0f7a11', 'key-' || n.id, sha256(uuid_send(n.id)), sha256(uuid_send(n.id)),
       'confirmed', 'direct', now(), 'C-4711', 'PO-' || left(n.id::text, 8), 'EUR', 15.30, 18.21,
       '{"customer": {"name": "Erika Mustermann", "reference": "C-4711"}, "ship_to": {"name": "Erika Mustermann", "street": "Heidestr. 17", "postal_code": "51147", "city": "Koeln", "country": "DE"}, "tax": [{"rate": "19.00", "base": "15.30", "amount": "2.91"}]}'
FROM n
ON CONFLICT DO NOTHING
RETURNING id AS ref, order_id AS uuid \gset
SAVEPOINT lines;
WITH wanted (product_id, quantity) AS (VALUES (:p1, :q), (:p2, :q), (:p3, :q)),
locked AS MATERIALIZED (
    SELECT s.product_id, s.on_hand - s.reserved AS available
    FROM stock AS s JOIN wanted USING (product_id)
    ORDER BY s.product_id FOR NO KEY UPDATE OF s
)
UPDATE stock SET reserved = stock.reserved + wanted.quantity, version = stock.version + 1
FROM wanted JOIN locked USING (product_id)
WHERE stock.product_id = wanted.product_id AND locked.available >= wanted.quantity;
WITH line AS (
    INSERT INTO order_line (order_ref, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity,
                            unit_price, net, tax_class, tax_category, tax_rate, stock_policy, reserved, backordered)
    SELECT :ref, position, product_id, 'SKU-' || product_id, 'Artikel ' || product_id, 'Article ' || product_id,
           'piece', 0, :q, 2.55, :q * 2.55, 'standard', 'S', 19.00, 'tracked', :q, 0
    FROM (VALUES (1, :p1), (2, :p2), (3, :p3)) AS n (position, product_id)
),
event AS (
    INSERT INTO order_event (order_ref, version, type, actor, at, content_hash, chain_hash)
    VALUES (:ref, 1, 'placed', 'client', now(), sha256(':uuid'), sha256(':uuid'))
),
outbox AS (
    INSERT INTO change (type, order_id, client_id, version, at)
    VALUES ('order.confirmed', ':uuid', '6a1f2f0e-1c5b-4c39-9d51-0d1f9f0f7a11', 1, now())
)
SELECT pg_logical_emit_message(true, 'standfest', ''), current_setting('synchronous_standby_names');
COMMIT;
