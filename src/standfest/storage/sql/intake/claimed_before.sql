-- The orders of a batch that this transaction has claimed: a row that it wrote carries its id in xmin, until a statement
-- behind a savepoint updates it.
WITH claimed AS MATERIALIZED (
    SELECT
        orders.id,
        orders.order_id,
        orders.client_id
    FROM unnest(%(order_id)s::uuid []) AS wanted (order_id)
    INNER JOIN orders ON wanted.order_id = orders.order_id
    WHERE orders.xmin = pg_current_xact_id()::xid
)
