-- What the audit has gone over once: blocks of ingest positions, sealed with what was in them, so that an order that is
-- deleted or rewritten later is noticed when its receipt has long been removed. The order plane's role may add seals
-- and change none; each node's audit keeps a copy of the digests on its own disk.

CREATE TABLE audit_seal (
    block bigint PRIMARY KEY,                  -- ingest positions 256 * block to 256 * block + 255
    orders integer NOT NULL,                   -- synthetic orders, which are deleted, left out
    marks bytea NOT NULL,                      -- four bytes a position, zero where there was no order
    digest bytea NOT NULL,                     -- SHA-256 over block and marks
    ordinal bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    sealed_by text NOT NULL,                   -- node
    sealed_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT ON audit_seal TO standfest_app;

-- Orders up to this ingest position were placed before receipts were noted by position: they are sealed as they stand.
CREATE TABLE audit_baseline (
    only_one boolean PRIMARY KEY DEFAULT TRUE CHECK (only_one),
    position bigint NOT NULL
);
INSERT INTO audit_baseline (position) SELECT coalesce(max(id), 0) FROM orders;
GRANT SELECT ON audit_baseline TO standfest_app;
