-- Orders that are locked as they now stand, each one version on.
UPDATE orders
SET
    status = new.status,
    version = new.version,
    content_hash = new.content_hash,
    net = new.net,
    gross = new.gross
FROM unnest(
    %(order_id)s::uuid [], %(status)s::text [], %(version)s::integer [], %(content_hash)s::bytea [],
    %(net)s::numeric [], %(gross)s::numeric []
) AS new (order_id, status, version, content_hash, net, gross)
WHERE orders.order_id = new.order_id AND orders.version = new.version - 1
RETURNING orders.order_id
