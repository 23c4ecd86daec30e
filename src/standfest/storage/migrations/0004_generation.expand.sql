-- Which history of the data the positions in cursors belong to. A normal failover or switchover continues it. Where
-- transactions may be gone that somebody has seen (a restore, a survivor that is promoted alone), or transaction ids
-- count anew (a major upgrade), another one begins, and cursors of the one before are refused.
CREATE TABLE generation (
    only_one boolean PRIMARY KEY DEFAULT TRUE CHECK (only_one),
    value uuid NOT NULL DEFAULT gen_random_uuid(),
    since timestamptz NOT NULL DEFAULT now()
);
INSERT INTO generation DEFAULT VALUES;
GRANT SELECT ON generation TO standfest_app;

-- Begins another history: to be called by the owner or a superuser, before clients read from the database again.
CREATE FUNCTION begin_generation() RETURNS uuid
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE public.generation
    SET value = gen_random_uuid(), since = now()
    RETURNING value;
END;
REVOKE ALL ON FUNCTION begin_generation() FROM public;
