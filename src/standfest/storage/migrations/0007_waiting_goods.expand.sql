-- What orders wait for of each product, on its stock row: new goods go to those who wait before newcomers, and whoever
-- takes stock sees it under the lock that it takes anyway. A trigger keeps it, so that release N, which does not know
-- of it, keeps it as well.
--
-- order_line is locked before stock, as orders do it; until the end nobody can begin to wait for goods unseen.

CREATE FUNCTION count_waiting_goods() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE public.stock
    SET backordered = backordered + NEW.backordered - CASE TG_OP WHEN 'UPDATE' THEN OLD.backordered ELSE 0 END
    WHERE product_id = NEW.product_id;
    RETURN NULL;
END;
$$;
CREATE TRIGGER count_waiting_goods_of_new_lines AFTER INSERT ON order_line
FOR EACH ROW WHEN (new.backordered > 0) EXECUTE FUNCTION count_waiting_goods();
CREATE TRIGGER count_waiting_goods_of_changed_lines AFTER UPDATE OF backordered ON order_line
FOR EACH ROW WHEN (old.backordered IS DISTINCT FROM new.backordered) EXECUTE FUNCTION count_waiting_goods();

ALTER TABLE stock ADD COLUMN backordered bigint NOT NULL DEFAULT 0;

UPDATE stock
SET backordered = waiting.quantity
FROM (
    SELECT
        product_id,
        sum(backordered)::bigint AS quantity
    FROM order_line
    WHERE backordered > 0
    GROUP BY product_id
) AS waiting
WHERE stock.product_id = waiting.product_id;
