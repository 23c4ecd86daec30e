"""The rows of the measurement: orders of three lines over 10,000 products, as columns for set-based statements."""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

PRODUCTS = 10_000
LINES_PER_ORDER = 3
CLIENT_ID = uuid.UUID("6a1f2f0e-1c5b-4c39-9d51-0d1f9f0f7a11")

SEED = f"""
INSERT INTO product (sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, stock_policy)
SELECT 'SKU-' || i, 'Artikel ' || i, 'Article ' || i, 'piece', 0, 2.55, 'standard', true, 'tracked'
FROM generate_series(1, {PRODUCTS}) AS i;
INSERT INTO stock (product_id, on_hand) SELECT id, 1000000000 FROM product;
"""

HEADS = """
INSERT INTO orders (order_id, client_id, idempotency_key, request_hash, content_hash, status, path, accepted_at,
                    customer_reference, external_reference, currency, net, gross, agreed)
SELECT n.*
FROM unnest($1::uuid [], $2::uuid [], $3::text [], $4::bytea [], $5::bytea [], $6::text [], $7::text [],
            $8::timestamptz [], $9::text [], $10::text [], $11::text [], $12::numeric [], $13::numeric [],
            $14::jsonb []) AS n
ON CONFLICT DO NOTHING
RETURNING id, order_id"""

EXISTING = """
SELECT o.id, o.order_id, o.request_hash, o.status
FROM unnest($1::uuid [], $2::text []) AS n (client_id, idempotency_key)
JOIN orders AS o USING (client_id, idempotency_key)"""

STOCK = """
WITH wanted AS (
    SELECT * FROM unnest($1::bigint [], $2::bigint []) AS w (product_id, quantity)
),
locked AS MATERIALIZED (
    SELECT s.product_id, s.on_hand - s.reserved AS available
    FROM stock AS s JOIN wanted USING (product_id)
    ORDER BY s.product_id FOR NO KEY UPDATE OF s
)
UPDATE stock SET reserved = stock.reserved + wanted.quantity, version = stock.version + 1
FROM wanted JOIN locked USING (product_id)
WHERE stock.product_id = wanted.product_id AND locked.available >= wanted.quantity
RETURNING stock.product_id"""

DETAILS = """
WITH line AS (
    INSERT INTO order_line (order_ref, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity,
                            unit_price, net, tax_class, tax_category, tax_rate, stock_policy, reserved, backordered)
    SELECT n.*
    FROM unnest($1::bigint [], $2::bigint [], $3::bigint [], $4::text [], $5::text [], $6::text [], $7::text [],
                $8::bigint [], $9::bigint [], $10::numeric [], $11::numeric [], $12::text [], $13::text [],
                $14::numeric [], $15::text [], $16::bigint [], $17::bigint []) AS n
),
event AS (
    INSERT INTO order_event (order_ref, version, type, actor, at, content_hash, chain_hash)
    SELECT n.order_ref, 1, 'placed', 'client', n.at, n.content_hash, n.chain_hash
    FROM unnest($18::bigint [], $19::timestamptz [], $20::bytea [], $21::bytea []) AS n (
        order_ref, at, content_hash, chain_hash
    )
),
outbox AS (
    INSERT INTO change (type, order_id, client_id, version, at)
    SELECT 'order.confirmed', n.order_id, n.client_id, 1, n.at
    FROM unnest($22::uuid [], $23::uuid [], $24::timestamptz []) AS n (order_id, client_id, at)
)
SELECT pg_logical_emit_message(true, 'standfest', ''), current_setting('synchronous_standby_names')"""

Columns = list[list[object]]

AGREED = (
    '{"customer": {"name": "Erika Mustermann", "reference": "C-4711"}, "ship_to": {"name": "Erika Mustermann", '
    '"street": "Heidestr. 17", "postal_code": "51147", "city": "Koeln", "country": "DE"}, '
    '"tax": [{"rate": "19.00", "base": "15.30", "amount": "2.91"}]}'
)


@dataclass(frozen=True)
class Batch:
    """Orders that are written in one transaction, priced and validated: all that is left is to write them."""

    order_ids: list[uuid.UUID]  # sorted
    products: list[list[int]]  # of each order
    quantities: list[list[int]]
    heads: Columns
    stock: Columns


def make_batch(size: int, rng: random.Random) -> Batch:
    """`size` orders that nobody has sent before."""
    order_ids = sorted(uuid.UUID(int=rng.getrandbits(128), version=4) for _ in range(size))
    products = [rng.sample(range(1, PRODUCTS + 1), LINES_PER_ORDER) for _ in order_ids]
    quantities = [[rng.randint(1, 9) for _ in order] for order in products]
    wanted: dict[int, int] = {}
    for order, amounts in zip(products, quantities, strict=True):
        for product, amount in zip(order, amounts, strict=True):
            wanted[product] = wanted.get(product, 0) + amount
    now = datetime.now(UTC)
    net = [sum(amounts) * Decimal("2.55") for amounts in quantities]
    heads: Columns = [
        list(order_ids),
        [CLIENT_ID] * size,
        [f"key-{order_id}" for order_id in order_ids],
        [hashlib.sha256(order_id.bytes).digest() for order_id in order_ids],
        [hashlib.sha256(order_id.bytes + b"c").digest() for order_id in order_ids],
        ["confirmed"] * size,
        ["direct"] * size,
        [now] * size,
        ["C-4711"] * size,
        [f"PO-{order_id.hex[:8]}" for order_id in order_ids],
        ["EUR"] * size,
        list(net),
        [(amount * Decimal("1.19")).quantize(Decimal("0.01")) for amount in net],
        [AGREED] * size,
    ]
    products_sorted = sorted(wanted)
    stock: Columns = [list(products_sorted), [wanted[product] for product in products_sorted]]
    return Batch(order_ids, products, quantities, heads, stock)


def detail_columns(batch: Batch, refs: dict[uuid.UUID, int]) -> Columns:
    """The columns of DETAILS, once the orders' bigint ids are known."""
    columns: Columns = [[] for _ in range(17)]
    for order_id, products, quantities in zip(batch.order_ids, batch.products, batch.quantities, strict=True):
        ref = refs[order_id]
        for position, (product, quantity) in enumerate(zip(products, quantities, strict=True), start=1):
            row = (
                ref, position, product, f"SKU-{product}", f"Artikel {product}", f"Article {product}", "piece", 0,
                quantity, Decimal("2.5500"), quantity * Decimal("2.55"), "standard", "S", Decimal("19.00"),
                "tracked", quantity, 0,
            )  # fmt: skip
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    times = batch.heads[7]
    ids: list[object] = list(batch.order_ids)
    return [
        *columns,
        [refs[order_id] for order_id in batch.order_ids], times, batch.heads[4], batch.heads[3],
        ids, batch.heads[1], times,
    ]  # fmt: skip
