-- Behind `claim`: whose keys were never seen.
SELECT order_id FROM claimed
