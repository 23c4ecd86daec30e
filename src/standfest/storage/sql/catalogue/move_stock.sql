-- Moves what is on hand of one product, once for each (client, key): the stock is locked, what comes of the movement is
-- decided and kept, and where it is applied the stock is changed and the readers of the feed are told. No row: the key
-- was used before.
WITH locked AS MATERIALIZED (
    SELECT
        product_id,
        on_hand,
        version_past + version AS version,
        on_hand + %(quantity)s::bigint BETWEEN 0 AND %(on_hand_max)s::bigint AS applied
    FROM stock
    WHERE product_id = %(product_id)s
    FOR NO KEY UPDATE
),

claimed AS (
    INSERT INTO stock_movement (
        client_id, idempotency_key, request_hash, product_id, quantity, reason, note, actor, at, applied, on_hand,
        version
    )
    SELECT
        %(client_id)s,
        %(idempotency_key)s,
        %(request_hash)s,
        product_id,
        %(quantity)s,
        %(reason)s,
        %(note)s,
        %(actor)s,
        %(at)s,
        applied,
        CASE WHEN applied THEN on_hand + %(quantity)s::bigint ELSE on_hand END,
        CASE WHEN applied THEN version + 1 ELSE version END
    FROM locked
    ON CONFLICT (client_id, idempotency_key) DO NOTHING
    RETURNING product_id, applied, on_hand, version
),

moved AS (
    UPDATE stock
    SET
        on_hand = stock.on_hand + %(quantity)s::bigint,
        version = mod(stock.version, 2147483647) + 1,
        version_past = stock.version_past + stock.version / 2147483647 * 2147483647
    FROM claimed
    WHERE stock.product_id = claimed.product_id AND claimed.applied
),

told AS (
    INSERT INTO change (type, sku, version, version_past, at)
    SELECT
        'stock.changed',
        %(sku)s,
        (mod(version - 1, 2147483647) + 1)::integer,
        (version - 1) / 2147483647 * 2147483647,
        %(at)s
    FROM claimed
    WHERE applied
)

SELECT
    applied,
    on_hand,
    version
FROM claimed
