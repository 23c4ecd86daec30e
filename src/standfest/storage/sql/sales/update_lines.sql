-- Lines of locked orders as they now stand. What was agreed at first (quantity, price, tax) is not touched.
UPDATE order_line
SET
    net = new.net,
    reserved = new.reserved,
    backordered = new.backordered,
    cancelled = new.cancelled
FROM unnest(
    %(line_order_id)s::uuid [], %(position)s::smallint [], %(line_net)s::numeric [], %(reserved)s::bigint [],
    %(backordered)s::bigint [], %(cancelled)s::bigint []
) AS new (order_id, position, net, reserved, backordered, cancelled)
INNER JOIN orders ON new.order_id = orders.order_id
WHERE order_line.order_ref = orders.id AND order_line.position = new.position
