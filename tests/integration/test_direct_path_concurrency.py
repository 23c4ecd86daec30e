"""The direct path's statements under 32 concurrent sessions whose keys and SKUs overlap."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest_asyncio

from standfest.catalogue.stock import Count
from standfest.catalogue.stock import put_many as put_stock
from standfest.domain.orders import Order
from standfest.domain.products import Product
from standfest.intake.direct import Outcome, Placement, place
from standfest.intake.errors import KeyReused
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from tests.integration.orders import order, pool_of, query, stock_product
from tests.support.postgres import TestDatabase

SESSIONS = 32
BATCHES = 8  # of each session
KEYS = 120
DEADLINE_S = 60.0  # far more than it takes: a session that waits in a circle would show as a deadlock, not as this
LOCK_TIMEOUT_MS = 50_000  # nor does a session give up its turn on a busy machine


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool that gives each session a connection of its own."""
    pool = pool_of(database, SESSIONS + 4, LOCK_TIMEOUT_MS)
    yield pool
    await pool.close()


def make_products(database: TestDatabase) -> list[Product]:
    """Few products, some of them soon short, so that nearly all batches meet in the same stock rows."""
    tracked = [stock_product(database, f"tracked-{number}", 60) for number in range(6)]
    backorder = [stock_product(database, f"backorder-{number}", 20, "backorder") for number in range(2)]
    return [*tracked, *backorder, stock_product(database, "untracked", 0, "untracked")]


def order_for(key: int, variant: int, products: Sequence[Product]) -> Order:
    """The order with this key: the same for everybody who asks for the same variant; lines in no order of products."""
    rng = random.Random(f"{key} {variant}")
    lines = [(product, rng.randint(1, 4)) for product in rng.choices(products, k=rng.randint(1, 4))]
    return order(f"key-{key}", *lines)


async def session(pool: Database, seed: int, products: Sequence[Product]) -> list[tuple[Order, Outcome]]:
    """Places batches of 1 to 8 orders with random keys, one in ten with other content than usual."""
    rng = random.Random(seed)
    results: list[tuple[Order, Outcome]] = []
    for _ in range(BATCHES):
        keys = rng.sample(range(KEYS), k=rng.randint(1, 8))
        orders = [order_for(key, int(rng.random() < 0.1), products) for key in keys]
        results += zip(orders, await place(pool, orders, Deadline.after(DEADLINE_S)), strict=True)
    return results


def assert_consistent(database: TestDatabase, results: list[tuple[Order, Outcome]]) -> None:
    """One order a key, the same for everybody; stock, lines, events and changes add up."""
    holders: dict[str, set[UUID]] = defaultdict(set)
    placed_first: dict[str, int] = defaultdict(int)
    for asked, outcome in results:
        if isinstance(outcome, KeyReused):
            assert outcome.order_id != asked.order_id
            holders[asked.idempotency_key].add(outcome.order_id)
        else:
            assert outcome.order.order_id == asked.order_id
            assert outcome.order.content_hash == asked.content_hash
            holders[asked.idempotency_key].add(outcome.order.order_id)
            placed_first[asked.idempotency_key] += not outcome.repeated
    assert all(len(ids) == 1 for ids in holders.values())
    assert dict.fromkeys(holders, 1) == placed_first
    assert query(database, "SELECT count(*), count(DISTINCT idempotency_key) FROM orders") == [
        (len(holders), len(holders))
    ]
    assert query(
        database,
        "SELECT stock.product_id, stock.reserved, sum(order_line.reserved) FROM stock"
        " LEFT JOIN order_line USING (product_id) GROUP BY stock.product_id"
        " HAVING stock.reserved <> coalesce(sum(order_line.reserved), 0)",
    ) == []  # fmt: skip
    for table, condition in (("order_event", "order_ref = orders.id"), ("change", "order_id = orders.order_id")):
        wrong = f"SELECT id FROM orders WHERE (SELECT count(*) FROM {table} WHERE {table}.{condition}) <> 1"
        assert query(database, wrong) == []
    statuses = {
        outcome.order.order_id: (outcome.order.status, len(outcome.order.lines))
        for _, outcome in results
        if isinstance(outcome, Placement)
    }
    rows = query(
        database,
        "SELECT order_id, status, (SELECT count(*) FROM order_line WHERE order_ref = orders.id) FROM orders",
    )
    assert {row[0]: (row[1], row[2]) for row in rows if row[0] in statuses} == statuses


async def test_overlapping_batches_never_deadlock_oversell_or_double(database: TestDatabase, pool: Database) -> None:
    """32 sessions with overlapping keys and SKUs: no deadlock, nothing sold that is not there, no key twice."""
    products = make_products(database)
    log_start = database.primary.log.stat().st_size
    results = await asyncio.gather(*(session(pool, seed, products) for seed in range(SESSIONS)))
    assert_consistent(database, [result for of_session in results for result in of_session])
    assert query(database, "SELECT product_id FROM stock WHERE reserved > on_hand") == []
    assert query(database, "SELECT count(*) > 0 FROM orders WHERE status = 'declined'") == [(True,)]
    assert query(database, "SELECT count(*) > 0 FROM orders WHERE status = 'backordered'") == [(True,)]
    assert "deadlock" not in database.primary.log_tail(log_start)


async def test_one_batch_sent_by_everybody_is_written_once(database: TestDatabase, pool: Database) -> None:
    """32 sessions send the same 40 orders at once, each in an order of its own: one writes each, all get the same."""
    products = make_products(database)
    log_start = database.primary.log.stat().st_size

    async def send(seed: int) -> list[tuple[Order, Outcome]]:
        orders = [order_for(key, 0, products) for key in range(40)]
        random.Random(seed).shuffle(orders)
        return list(zip(orders, await place(pool, orders, Deadline.after(DEADLINE_S)), strict=True))

    results = await asyncio.gather(*(send(seed) for seed in range(SESSIONS)))
    assert_consistent(database, [result for of_session in results for result in of_session])
    assert query(database, "SELECT count(*) FROM orders") == [(40,)]
    assert "deadlock" not in database.primary.log_tail(log_start)


async def test_counting_stock_meanwhile_never_deadlocks(database: TestDatabase, pool: Database) -> None:
    """Stock counts that are put while orders come neither deadlock with them nor lose a reservation."""
    products = make_products(database)
    log_start = database.primary.log.stat().st_size

    async def count_stock(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(BATCHES):
            chosen = rng.sample(products, k=5)
            async with pool.write(DEADLINE_S) as connection:
                counts = [Count(product.sku, str(rng.randint(40, 80))) for product in chosen]
                await put_stock(connection, counts, datetime.now(UTC))

    orders = [session(pool, seed, products) for seed in range(SESSIONS - 4)]
    placed, _ = await asyncio.gather(asyncio.gather(*orders), asyncio.gather(*(count_stock(seed) for seed in range(4))))
    assert_consistent(database, [result for of_session in placed for result in of_session])
    assert "deadlock" not in database.primary.log_tail(log_start)
