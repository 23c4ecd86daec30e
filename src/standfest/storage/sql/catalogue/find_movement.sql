-- What a key of a client was used for and what came of it, read by a statement younger than the movement.
SELECT
    request_hash,
    applied,
    on_hand,
    version,
    at
FROM stock_movement
WHERE client_id = %(client_id)s AND idempotency_key = %(idempotency_key)s
