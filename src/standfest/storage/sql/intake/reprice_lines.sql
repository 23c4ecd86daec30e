-- The lines of a locked order at the prices of another acceptance of the same request.
UPDATE order_line
SET
    unit_price = new.unit_price,
    net = new.net,
    tax_class = new.tax_class,
    tax_category = new.tax_category,
    tax_rate = new.tax_rate
FROM unnest(
    %(position)s::smallint [], %(unit_price)s::numeric [], %(line_net)s::numeric [], %(tax_class)s::text [],
    %(tax_category)s::text [], %(tax_rate)s::numeric []
) AS new (position, unit_price, net, tax_class, tax_category, tax_rate)
WHERE
    order_line.order_ref = (SELECT id FROM orders WHERE order_id = %(order_id)s)
    AND order_line.position = new.position
