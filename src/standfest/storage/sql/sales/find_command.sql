-- What a key of a client was used for, read by a statement younger than the claim.
SELECT request_hash
FROM order_command
WHERE client_id = %(client_id)s AND idempotency_key = %(idempotency_key)s
