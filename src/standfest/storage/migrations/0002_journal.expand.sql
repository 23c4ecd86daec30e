-- Orders that come through the journal: state `conflict`, and synthetic orders that are forgotten again.

-- squawk-ignore ban-drop-constraint -- the next statement allows all that it allowed, and one state more
ALTER TABLE orders DROP CONSTRAINT orders_status_check;
ALTER TABLE orders ADD CONSTRAINT orders_status_known
CHECK (status IN ('confirmed', 'backordered', 'declined', 'cancelled', 'conflict')) NOT VALID;

-- The order plane's role may delete nothing; of synthetic orders, and of these alone, it may say that old ones go.
-- Their client is a constant of the program (domain/synthetic.py), which no key belongs to.
CREATE FUNCTION forget_synthetic_orders(older_than timestamptz, at_most integer) RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH old AS (
        SELECT id
        FROM public.orders
        WHERE
            client_id = '00000000-0000-8000-8000-000000000001' AND accepted_at < older_than
            -- the role may change an order's client, and not its first event
            AND EXISTS (
                SELECT FROM public.order_event
                WHERE
                    order_ref = orders.id AND version = 1
                    AND actor = 'client:00000000-0000-8000-8000-000000000001'
            )
        ORDER BY id
        LIMIT at_most
    ),

    lines AS (
        DELETE FROM public.order_line WHERE order_ref IN (SELECT id FROM old)
    ),

    events AS (
        DELETE FROM public.order_event WHERE order_ref IN (SELECT id FROM old)
    ),

    gone AS (
        DELETE FROM public.orders WHERE id IN (SELECT id FROM old)
        RETURNING id
    )

    SELECT count(*) FROM gone;
END;
REVOKE ALL ON FUNCTION forget_synthetic_orders (timestamptz, integer) FROM public;
GRANT EXECUTE ON FUNCTION forget_synthetic_orders (timestamptz, integer) TO standfest_app;
