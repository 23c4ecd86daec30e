-- Deletes synthetic orders that were accepted before a moment, and says how many.
SELECT forget_synthetic_orders(%(older_than)s::timestamptz, %(at_most)s::integer)
