-- The base of the order plane's data.
--
-- Quantities are whole numbers of a product's smallest step (unit_decimals says how many
-- decimals that is); money is in the shop's currency; hashes are SHA-256.
-- Rows that belong to an order refer to it by the bigint `orders.id`: one index alone
-- carries the random UUID.  They have no foreign keys: one transaction writes an order
-- with all that belongs to it, nothing is deleted, and the check would cost a row lock each.

CREATE TABLE client (
    id uuid PRIMARY KEY,                       -- immutable: part of every order's identity
    name text NOT NULL UNIQUE,
    scopes text [] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE client_key (
    id text COLLATE "C" PRIMARY KEY,           -- the public part of the key
    client_id uuid NOT NULL REFERENCES client (id),
    secret_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE product (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku text COLLATE "C" NOT NULL UNIQUE,
    name_de text NOT NULL,
    name_en text NOT NULL,
    unit text NOT NULL,
    unit_decimals smallint NOT NULL CHECK (unit_decimals BETWEEN 0 AND 3),
    net_price numeric(13, 4) NOT NULL CHECK (net_price >= 0),
    tax_class text NOT NULL CHECK (tax_class IN ('standard', 'reduced', 'zero')),
    active boolean NOT NULL,
    stock_policy text NOT NULL CHECK (stock_policy IN ('tracked', 'untracked', 'backorder')),
    version integer NOT NULL DEFAULT 1,
    -- who reads "all that changed since" asks for transactions at or above the oldest one
    -- that was running when it last looked, so nothing that commits late is skipped
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX product_transaction_id ON product (transaction_id, id);

-- available = on_hand - reserved. Every product has a row, whatever its policy.
-- Half of each page is kept free so that an update stays on its page (HOT).
CREATE TABLE stock (
    product_id bigint PRIMARY KEY REFERENCES product (id),
    on_hand bigint NOT NULL DEFAULT 0 CHECK (on_hand >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    version integer NOT NULL DEFAULT 1
) WITH (fillfactor = 50);

CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,   -- ingest position: lists page by it
    order_id uuid NOT NULL UNIQUE,
    client_id uuid NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    request_hash bytea NOT NULL,
    content_hash bytea NOT NULL,               -- of what is agreed now; history is in order_event
    status text NOT NULL CHECK (status IN ('confirmed', 'backordered', 'declined', 'cancelled')),
    version integer NOT NULL DEFAULT 1,
    path text NOT NULL CHECK (path IN ('direct', 'journal')),
    accepted_at timestamptz NOT NULL,
    customer_reference text COLLATE "C",       -- null: a guest
    external_reference text COLLATE "C",
    currency text NOT NULL,
    net numeric(15, 2) NOT NULL,
    gross numeric(15, 2) NOT NULL,
    agreed jsonb NOT NULL,                     -- customer, ship_to, bill_to, tax, requested_delivery, note
    UNIQUE (client_id, idempotency_key)        -- for ever: there is no idempotency record that expires
) WITH (fillfactor = 90);
CREATE INDEX orders_client ON orders (client_id, id);
CREATE INDEX orders_status ON orders (status, id);
CREATE INDEX orders_customer ON orders (customer_reference, id) WHERE customer_reference IS NOT NULL;
CREATE INDEX orders_external_reference ON orders (external_reference, id) WHERE external_reference IS NOT NULL;

-- A snapshot of what was agreed, with what became of it. net is that of quantity - cancelled.
CREATE TABLE order_line (
    order_ref bigint NOT NULL,
    position smallint NOT NULL,                -- from 1
    product_id bigint NOT NULL,
    sku text NOT NULL,
    name_de text NOT NULL,
    name_en text NOT NULL,
    unit text NOT NULL,
    unit_decimals smallint NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    unit_price numeric(13, 4) NOT NULL,
    net numeric(15, 2) NOT NULL,
    tax_class text NOT NULL,
    tax_category text NOT NULL,                -- UNCL 5305, as EN 16931 uses it
    tax_rate numeric(5, 2) NOT NULL,           -- per cent
    stock_policy text NOT NULL,
    reserved bigint NOT NULL DEFAULT 0,
    backordered bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    note text,
    PRIMARY KEY (order_ref, position),
    CHECK (reserved >= 0 AND backordered >= 0 AND cancelled >= 0),
    CHECK (reserved + backordered + cancelled <= quantity)
) WITH (fillfactor = 90);
-- what waits for goods, oldest order first
CREATE INDEX order_line_backordered ON order_line (product_id, order_ref) WHERE backordered > 0;

-- Every change of an order. chain_hash covers the one before, so an edited row shows.
CREATE TABLE order_event (
    order_ref bigint NOT NULL,
    version integer NOT NULL,                  -- the order's version after it
    type text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    reason text,
    data jsonb,
    content_hash bytea NOT NULL,               -- of what is agreed after it
    chain_hash bytea NOT NULL,
    PRIMARY KEY (order_ref, version)
);

-- Commands after the order itself (cancel, ...): the same rule of identity, for ever.
CREATE TABLE order_command (
    client_id uuid NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    request_hash bytea NOT NULL,
    order_ref bigint NOT NULL,
    version integer NOT NULL,                  -- the order's version that it produced
    PRIMARY KEY (client_id, idempotency_key)
);

-- The outbox and the feed of changes: readers serve only what lies below the oldest
-- running transaction, in the order of (transaction_id, sequence).
CREATE TABLE change (
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,                        -- order.confirmed, product.changed, stock.changed, ...
    order_id uuid,
    client_id uuid,                            -- whose order it is
    sku text COLLATE "C",
    version integer NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (transaction_id, sequence)
);

-- Clients and their keys are written by the owner's role alone: who takes over an API
-- process cannot make keys.
GRANT SELECT ON client, client_key TO standfest_app;
GRANT SELECT, INSERT, UPDATE ON product, stock, orders, order_line TO standfest_app;
GRANT SELECT, INSERT ON order_event, order_command, change TO standfest_app;
