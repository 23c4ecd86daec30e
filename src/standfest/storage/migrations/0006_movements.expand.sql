-- Movements of stock, and versions that go on beyond 32 bits.

-- What was asked for under a key, for ever, and what came of it: the same rule of identity as for commands on orders.
CREATE TABLE stock_movement (
    client_id uuid NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    request_hash bytea NOT NULL,
    product_id bigint NOT NULL,
    quantity bigint NOT NULL CHECK (quantity <> 0),    -- in steps, with its sign
    reason text NOT NULL,
    note text,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    applied boolean NOT NULL,                  -- false: refused, and so is every repeat
    on_hand bigint NOT NULL CHECK (on_hand >= 0),      -- after it; where it is refused, what was there
    version bigint NOT NULL,                   -- of the stock after it
    PRIMARY KEY (client_id, idempotency_key)
);
CREATE INDEX stock_movement_product ON stock_movement (product_id, version);
GRANT SELECT, INSERT ON stock_movement TO standfest_app;

-- A product's stock has a new version with each batch of orders that takes from it, a product with each change of its
-- price: that can be more than 2^31 - 1. The number that is shown is version_past + version; at 2^31 - 1 version begins
-- again at 1. No column changes its type, so that no table is rewritten and no statement that is prepared breaks.
ALTER TABLE stock ADD COLUMN version_past bigint NOT NULL DEFAULT 0;
ALTER TABLE product ADD COLUMN version_past bigint NOT NULL DEFAULT 0;
ALTER TABLE change ADD COLUMN version_past bigint NOT NULL DEFAULT 0;
