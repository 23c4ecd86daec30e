"""The statements of catalogue and sales at 32 concurrent sessions with overlapping keys, orders and SKUs."""

from __future__ import annotations

import asyncio
import datetime
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest_asyncio

from standfest.catalogue import clients, products, stock
from standfest.catalogue.clients import ClientError
from standfest.catalogue.products import NewProduct
from standfest.catalogue.stock import Count
from standfest.domain.cancellation import CancelRequest, Conflict, LineWish
from standfest.domain.events import broken_at
from standfest.domain.faults import Invalid
from standfest.domain.products import Product
from standfest.intake.direct import Placement, place
from standfest.sales.backorders import confirm_backorders
from standfest.sales.cancel import CancelCommand, cancel
from standfest.sales.errors import CommandKeyReused
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.orders import read_events, read_orders
from tests.integration.orders import CLIENT, order, pool_of, query, stock_product
from tests.support.postgres import TestDatabase

SESSIONS = 32
TURNS = 10
DEADLINE_S = 60.0
ADDS_UP = """
    SELECT stock.product_id, stock.reserved, sum(line.reserved)
    FROM stock LEFT JOIN order_line AS line ON line.product_id = stock.product_id
    GROUP BY stock.product_id HAVING stock.reserved <> coalesce(sum(line.reserved), 0)
"""
UNACCOUNTED = """
    SELECT line.order_ref, line.position
    FROM order_line AS line INNER JOIN orders ON orders.id = line.order_ref
    WHERE orders.status <> 'declined' AND line.reserved + line.backordered + line.cancelled <> line.quantity
"""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool with a connection for each session."""
    pool = pool_of(database, SESSIONS)
    yield pool
    await pool.close()


class Shop:
    """Sessions that place, cancel, count and confirm at random; what they find is checked afterwards."""

    def __init__(self, pool: Database, goods: list[Product]) -> None:
        self.pool = pool
        self.goods = goods
        self.order_ids: list[UUID] = []
        self.keys_reused = 0

    async def session(self, seed: int) -> None:
        """One client: `TURNS` random steps."""
        rng = random.Random(seed)
        steps = (self.place, self.place, self.cancel, self.cancel, self.count, self.confirm, self.put_products)
        for turn in range(TURNS):
            await rng.choice(steps)(rng, f"{seed}-{turn}")

    async def place(self, rng: random.Random, key: str) -> None:
        """Places a few orders in one batch, lines in any order."""
        wanted = [
            order(f"{key}-{n}", *((rng.choice(self.goods), rng.randint(1, 4)) for _ in range(rng.randint(1, 4))))
            for n in range(3)
        ]
        for outcome in await place(self.pool, wanted, Deadline.after(DEADLINE_S)):
            assert isinstance(outcome, Placement)
            self.order_ids.append(outcome.order.order_id)

    async def cancel(self, rng: random.Random, _key: str) -> None:
        """Cancels an order or a line of it, with one of a few keys, so that keys and orders are shared."""
        if not self.order_ids:
            return
        lines = (LineWish(1, "1"),) if rng.random() < 0.7 else None
        wish = CancelRequest(lines=lines)
        order_id = rng.choice(self.order_ids[-20:])
        command = CancelCommand(
            client_id=CLIENT,
            idempotency_key=f"c{rng.randint(1, 60)}",
            order_id=order_id,
            body={"lines": lines is not None},
            request=wish,
            any_order=False,
            at=datetime.datetime.now(datetime.UTC),
        )
        try:
            async with self.pool.write(DEADLINE_S) as connection:
                await cancel(connection, command)
        except CommandKeyReused:
            self.keys_reused += 1
        except (Conflict, Invalid):
            return  # declined, cancelled before, or nothing left of the line: lawful answers

    async def count(self, rng: random.Random, _key: str) -> None:
        """Counts some products anew, in any order."""
        counted = rng.sample(self.goods, k=4)
        async with self.pool.write(DEADLINE_S) as connection:
            counts = [Count(product.sku, str(rng.randint(0, 60))) for product in counted]
            await stock.put_many(connection, counts, datetime.datetime.now(datetime.UTC))

    async def confirm(self, _rng: random.Random, _key: str) -> None:
        """One round of a worker."""
        await confirm_backorders(self.pool, orders_max=10)

    async def put_products(self, rng: random.Random, _key: str) -> None:
        """Changes known products and makes new ones, in any order."""
        skus = rng.sample([*(product.sku for product in self.goods), *(f"new-{n}" for n in range(8))], k=8)
        wanted = [
            NewProduct(sku, "x", f"x{rng.randint(1, 3)}", "piece", 0, Decimal(10), "standard", True, "backorder")
            for sku in skus
        ]
        async with self.pool.write(DEADLINE_S) as connection:
            await products.put_many(connection, wanted, datetime.datetime.now(datetime.UTC))


async def test_everything_at_once_never_deadlocks_and_adds_up(database: TestDatabase, pool: Database) -> None:
    """32 sessions place, cancel, count, confirm and put products: no deadlock, reservations add up, chains hold."""
    goods = [stock_product(database, f"p{n}", 20, "backorder" if n % 2 else "tracked") for n in range(8)]
    shop = Shop(pool, goods)
    await asyncio.gather(*(shop.session(seed) for seed in range(SESSIONS)))
    assert query(database, DEADLOCKS) == [(0,)]
    assert query(database, ADDS_UP) == []
    assert query(database, UNACCOUNTED) == []
    await each_order_is_sound(pool, shop.order_ids)
    assert query(
        database,
        "SELECT c.idempotency_key FROM order_command AS c LEFT JOIN order_event AS e USING (order_ref, version)"
        " WHERE e.type IS NULL OR e.type NOT IN ('order.cancelled', 'order.lines_cancelled')",
    ) == []  # fmt: skip
    assert query(
        database, "SELECT count(*) - count(DISTINCT (order_id, version)) FROM change WHERE order_id IS NOT NULL"
    ) == [(0,)]
    assert shop.keys_reused > 0


async def each_order_is_sound(pool: Database, order_ids: list[UUID]) -> None:
    """Status, version and totals of every order follow from its lines and events."""
    async with pool.read(DEADLINE_S) as connection:
        orders = await read_orders(connection, order_ids)
        events = await read_events(connection, order_ids)
    for stored in orders.values():
        history = events[stored.order_id]
        assert broken_at(history) is None
        assert len(history) == stored.version
        assert history[-1].content_hash == stored.content_hash
        assert history[-1].type in (f"order.{stored.status}", "order.lines_cancelled")
        if stored.status == "confirmed":
            assert all(line.reserved == line.open for line in stored.lines)
        if stored.status == "backordered":
            assert any(line.backordered for line in stored.lines)
        if stored.status == "cancelled":
            assert all(line.open == 0 for line in stored.lines)
            assert stored.totals.gross == 0


async def test_one_cancellation_sent_32_times_at_once_is_carried_out_once(
    database: TestDatabase, pool: Database
) -> None:
    """Whoever comes first cancels; all get the same order, and the stock comes back once."""
    apple = stock_product(database, "apple", 9)
    [placed] = await place(pool, [order("k", (apple, 8))], Deadline.after(DEADLINE_S))
    assert isinstance(placed, Placement)
    command = CancelCommand(
        client_id=CLIENT,
        idempotency_key="c",
        order_id=placed.order.order_id,
        body={},
        request=CancelRequest(lines=(LineWish(1, "3"),)),
        any_order=False,
        at=datetime.datetime.now(datetime.UTC),
    )

    async def send() -> bool:
        async with pool.write(DEADLINE_S) as connection:
            cancelled = await cancel(connection, command)
        assert (cancelled.order.version, cancelled.order.lines[0].open) == (2, 5)
        return cancelled.repeated

    repeated = await asyncio.gather(*(send() for _ in range(SESSIONS)))
    assert repeated.count(False) == 1
    assert query(database, "SELECT reserved FROM stock") == [(5,)]


async def test_one_import_sent_32_times_at_once_creates_each_product_once(
    database: TestDatabase, pool: Database
) -> None:
    """The same new products put by everybody in any order: no deadlock, one version, one change each."""
    skus = [f"p{number}" for number in range(40)]

    async def send(seed: int) -> None:
        shuffled = random.Random(seed).sample(skus, k=len(skus))
        wanted = [NewProduct(sku, "x", "x", "piece", 0, Decimal(1), "zero", True, "tracked") for sku in shuffled]
        async with pool.write(DEADLINE_S) as connection:
            await products.put_many(connection, wanted, datetime.datetime.now(datetime.UTC))

    await asyncio.gather(*(send(seed) for seed in range(SESSIONS)))
    assert query(database, DEADLOCKS) == [(0,)]
    assert query(database, "SELECT count(*), max(version) FROM product") == [(40, 1)]
    assert query(database, "SELECT count(*) FROM stock") == [(40,)]
    assert query(database, "SELECT count(*) FROM change") == [(40,)]


async def test_keys_added_at_once_are_never_more_than_two(database: TestDatabase) -> None:
    """32 sessions give one client a key each: one more is made than the first, all others are refused."""

    def add() -> bool:
        with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
            try:
                clients.add_key(connection, "Shop")
            except ClientError:
                return False
            return True

    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
        clients.add_client(connection, "Shop", ["orders:write"])
    added = await asyncio.gather(*(asyncio.to_thread(add) for _ in range(SESSIONS)))
    assert sum(added) == 1
