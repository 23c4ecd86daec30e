-- What is written of the orders in `claimed`, which the statement begins with: lines, stock, events, changes. Orders that
-- are not in it are left alone, whatever is given for them. Stock rows are locked in ascending product_id by everybody,
-- after all orders are claimed (what is demanded of a product is known only then); a row is taken from only where enough
-- is free beside what orders wait for and what is held for orders that were accepted earlier (`held_…`). Where demanded
-- and taken differ, something was short, and nothing of it may be committed. `scarce` are products of which less is left
-- than so many lines (`scarce_lines`) as the largest one here would take.
, new_line AS MATERIALIZED (
    SELECT
        claimed.id AS order_ref,
        line.*
    FROM unnest(
        %(line_order_id)s::uuid [], %(position)s::smallint [], %(product_id)s::bigint [], %(sku)s::text [],
        %(name_de)s::text [], %(name_en)s::text [], %(unit)s::text [], %(unit_decimals)s::smallint [],
        %(quantity)s::bigint [], %(unit_price)s::numeric [], %(line_net)s::numeric [], %(tax_class)s::text [],
        %(tax_category)s::text [], %(tax_rate)s::numeric [], %(stock_policy)s::text [], %(reserved)s::bigint [],
        %(backordered)s::bigint [], %(note)s::text []
    ) AS line (
        order_id, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity, unit_price, net,
        tax_class, tax_category, tax_rate, stock_policy, reserved, backordered, note
    )
    INNER JOIN claimed ON line.order_id = claimed.order_id
),

written_line AS (
    INSERT INTO order_line (
        order_ref, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity, unit_price, net,
        tax_class, tax_category, tax_rate, stock_policy, reserved, backordered, note
    )
    SELECT
        order_ref, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity, unit_price, net,
        tax_class, tax_category, tax_rate, stock_policy, reserved, backordered, note
    FROM new_line
),

held AS MATERIALIZED (
    SELECT
        product_id,
        quantity
    FROM unnest(%(held_product_id)s::bigint [], %(held_quantity)s::bigint []) AS earlier (product_id, quantity)
),

demand AS MATERIALIZED (
    SELECT
        new_line.product_id,
        sum(new_line.reserved)::bigint AS quantity,
        max(new_line.reserved) AS largest
    FROM new_line
    WHERE new_line.reserved > 0
    GROUP BY new_line.product_id
),

locked AS MATERIALIZED (
    SELECT
        stock.product_id,
        demand.quantity,
        demand.largest,
        coalesce((SELECT held.quantity FROM held WHERE held.product_id = demand.product_id), 0) AS held
    FROM demand
    INNER JOIN stock ON demand.product_id = stock.product_id
    ORDER BY stock.product_id
    FOR NO KEY UPDATE OF stock
),

taken AS (
    UPDATE stock
    SET
        reserved = stock.reserved + locked.quantity,
        version = mod(stock.version, 2147483647) + 1,
        version_past = stock.version_past + stock.version / 2147483647 * 2147483647
    FROM locked
    WHERE
        stock.product_id = locked.product_id
        AND stock.on_hand - stock.reserved - stock.backordered >= locked.quantity + locked.held
    RETURNING
        (stock.on_hand - stock.reserved - stock.backordered - locked.held) / locked.largest
        < (%(scarce_lines)s::bigint [])[1] AS scarce
),

event AS MATERIALIZED (
    SELECT
        claimed.id AS order_ref,
        claimed.order_id,
        claimed.client_id,
        happened.*
    FROM unnest(
        %(order_id)s::uuid [], %(event_type)s::text [], %(actor)s::text [], %(at)s::timestamptz [],
        %(data)s::jsonb [], %(content_hash)s::bytea [], %(chain_hash)s::bytea []
    ) AS happened (event_order_id, type, actor, at, data, content_hash, chain_hash)
    INNER JOIN claimed ON happened.event_order_id = claimed.order_id
),

written_event AS (
    INSERT INTO order_event (order_ref, version, type, actor, at, data, content_hash, chain_hash)
    SELECT order_ref, 1, type, actor, at, data, content_hash, chain_hash
    FROM event
),

written_change AS (
    INSERT INTO change (type, order_id, client_id, version, at)
    SELECT type, order_id, client_id, 1, at
    FROM event
    WHERE client_id <> '00000000-0000-8000-8000-000000000001' -- a synthetic order is no business
)

SELECT
    (SELECT count(*) FROM claimed) AS claimed,
    (SELECT count(*) FROM demand) AS demanded,
    (SELECT count(*) FROM taken) AS taken,
    (SELECT count(*) FROM taken WHERE scarce) AS scarce
