"""Backordered orders and the worker against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from uuid import UUID

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from standfest.catalogue import stock
from standfest.catalogue.stock import Count
from standfest.domain.events import broken_at
from standfest.domain.orders import Order
from standfest.sales import backorders, bounds
from standfest.sales.backorders import Batch, confirm_backorders
from standfest.sales.store import Changed, write_changes
from standfest.sales.worker import WorkerMetrics, work
from standfest.storage.connection import Connection
from standfest.storage.database import Database
from standfest.storage.orders import read_events, read_orders
from tests.integration.orders import order, place_one, pool_of, query, stock_product
from tests.support.postgres import TestDatabase

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


async def count(pool: Database, sku: str, on_hand: int) -> None:
    """Puts one stock count."""
    async with pool.write(5) as connection:
        await stock.put_many(connection, [Count(sku, str(on_hand))], AT)


async def stored(pool: Database, order_id: UUID) -> Order:
    """The order as it is now."""
    async with pool.read(5) as connection:
        return (await read_orders(connection, [order_id]))[order_id]


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Polls every 50 ms for at most 20 s."""
    for _ in range(400):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"{condition.__name__}: not within 20 s")


async def test_the_oldest_orders_get_what_came_in(database: TestDatabase, pool: Database) -> None:
    """First come, first served; the one that gets a part keeps it, and the next count gives it the rest."""
    pear = stock_product(database, "pear", 0, "backorder")
    placed = [(await place_one(pool, order(f"k{n}", (pear, 4)))).order.order_id for n in range(3)]
    assert await confirm_backorders(pool) == Batch(0, 0, more=False)
    await count(pool, "pear", 6)
    assert await confirm_backorders(pool) == Batch(1, 1, more=True)
    assert await confirm_backorders(pool) == Batch(0, 0, more=False)
    assert [(await stored(pool, each)).status for each in placed] == ["confirmed", "backordered", "backordered"]
    second = await stored(pool, placed[1])
    assert (second.version, second.lines[0].reserved, second.lines[0].backordered) == (2, 2, 2)
    await count(pool, "pear", 20)
    assert await confirm_backorders(pool) == Batch(2, 0, more=True)
    assert [(await stored(pool, each)).status for each in placed] == ["confirmed"] * 3
    assert query(database, "SELECT on_hand, reserved FROM stock") == [(20, 12)]
    async with pool.read(5) as connection:
        events = (await read_events(connection, placed))[placed[1]]
    assert [event.type for event in events] == ["order.backordered", "order.backordered", "order.confirmed"]
    assert events[1].data == {"reserved": [{"position": 1, "sku": "pear", "quantity": "2"}]}
    assert broken_at(events) is None
    assert query(database, "SELECT count(*) FROM change WHERE order_id IS NOT NULL") == [(7,)]


async def test_an_order_waits_until_every_line_is_there(database: TestDatabase, pool: Database) -> None:
    """What came in for one line is kept while another line still waits."""
    pear, plum = stock_product(database, "pear", 0, "backorder"), stock_product(database, "plum", 0, "backorder")
    placed = (await place_one(pool, order("k", (pear, 1), (plum, 1)))).order
    await count(pool, "plum", 1)
    assert await confirm_backorders(pool) == Batch(0, 1, more=True)
    await count(pool, "pear", 1)
    assert await confirm_backorders(pool) == Batch(1, 0, more=True)
    assert (await stored(pool, placed.order_id)).content_hash == placed.content_hash
    assert query(database, "SELECT reserved FROM stock") == [(1,), (1,)]


async def test_batches_are_bounded_and_keep_the_order(database: TestDatabase, pool: Database) -> None:
    """Many waiting orders are served batch by batch, never a younger one before an older one."""
    pear, plum = stock_product(database, "pear", 0, "backorder"), stock_product(database, "plum", 0, "backorder")
    placed = [(await place_one(pool, order(f"k{n}", (pear if n % 3 else plum, 1)))).order.order_id for n in range(9)]
    await count(pool, "pear", 100)
    await count(pool, "plum", 100)
    for served in (2, 4, 6, 8, 9):
        batch = await confirm_backorders(pool, orders_max=2)
        assert batch.confirmed in (1, 2)
        statuses = [(await stored(pool, each)).status for each in placed]
        assert statuses == ["confirmed"] * served + ["backordered"] * (9 - served)
    assert await confirm_backorders(pool, orders_max=2) == Batch(0, 0, more=False)


async def test_a_batch_is_bounded_by_its_lines(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Big orders make small batches, the oldest first, and one order goes however big it is."""
    monkeypatch.setattr(bounds, "LINES_MAX", 3)
    pear = stock_product(database, "pear", 0, "backorder")
    for number, lines in enumerate((2, 1, 1, 4)):
        await place_one(pool, order(f"k{number}", *[(pear, 1)] * lines))
    await count(pool, "pear", 100)
    assert [(await confirm_backorders(pool)).confirmed for _ in range(4)] == [2, 1, 1, 0]


@pytest.mark.parametrize(
    "failing",
    [
        "SELECT 1 / 0",
        "SELECT a_column_that_is_not_there",
        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'XX001'; END $$",
    ],
    ids=["22012", "42703", "XX001"],
)
async def test_one_order_that_cannot_be_written_stalls_no_other(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A batch that fails goes order by order: the bad one is counted and waits on, all others are confirmed."""
    pear = stock_product(database, "pear", 0, "backorder")
    placed = [(await place_one(pool, order(f"k{n}", (pear, 1)))).order.order_id for n in range(4)]
    await count(pool, "pear", 10)

    async def write(connection: Connection, changed: Sequence[Changed]) -> None:
        if any(change.after.order_id == placed[1] for change in changed):
            await connection.execute(failing.encode())
        await write_changes(connection, changed)

    monkeypatch.setattr(backorders, "write_changes", write)
    assert await confirm_backorders(pool) == Batch(3, 0, more=True, failed=1)
    statuses = [(await stored(pool, each)).status for each in placed]
    assert statuses == ["confirmed", "backordered", "confirmed", "confirmed"]
    assert await confirm_backorders(pool) == Batch(0, 0, more=False, failed=1)


async def test_several_workers_at_once_serve_each_order_once(database: TestDatabase, pool: Database) -> None:
    """Workers on every node see the same work: each order is supplied once, and stock adds up."""
    pear = stock_product(database, "pear", 0, "backorder")
    for number in range(20):
        await place_one(pool, order(f"k{number}", (pear, 2)))
    await count(pool, "pear", 31)
    batches = await asyncio.gather(*(confirm_backorders(pool) for _ in range(6)))
    assert sum(batch.confirmed for batch in batches) == 15
    assert sum(batch.supplied_in_part for batch in batches) == 1
    assert query(database, "SELECT reserved FROM stock") == [(31,)]
    assert query(database, "SELECT max(version) FROM orders") == [(2,)]


async def test_an_idle_round_writes_nothing(database: TestDatabase, pool: Database) -> None:
    """Where nothing came in, a round assigns no transaction id: it costs the standbys nothing."""
    pear = stock_product(database, "pear", 0, "backorder")
    await place_one(pool, order("k", (pear, 1)))
    next_id = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
    before = query(database, next_id)
    for _ in range(3):
        await confirm_backorders(pool)
    assert query(database, next_id) == before


async def test_the_worker_confirms_counts_and_stops(database: TestDatabase) -> None:
    """The worker serves what came in within a round or two, counts, and ends when told."""
    pear = stock_product(database, "pear", 0, "backorder")
    own, pool = pool_of(database, 2), pool_of(database, 2)
    placed = (await place_one(own, order("k", (pear, 1)))).order.order_id
    stop, registry = asyncio.Event(), CollectorRegistry()
    worker = asyncio.create_task(work(pool, WorkerMetrics(registry), stop))
    await count(own, "pear", 1)

    async def confirmed() -> bool:
        return (await stored(own, placed)).status == "confirmed"

    await eventually(confirmed)
    assert registry.get_sample_value("standfest_backorders_supplied_total", {"status": "confirmed"}) == 1
    stop.set()
    async with asyncio.timeout(60):
        await worker
    await own.close()
    await pool.close()


async def test_the_worker_outlives_an_outage(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no database answers, rounds fail, are counted, and go on; nothing is raised."""
    monkeypatch.setattr(backorders, "_FIND_DEADLINE_S", 0.2)
    pool = pool_of(database, 1)
    stop = asyncio.Event()
    registry = CollectorRegistry()

    async def failed() -> bool:
        return bool(registry.get_sample_value("standfest_worker_failures_total"))

    async def works_again() -> bool:
        return bool(registry.get_sample_value("standfest_worker_last_round_timestamp_seconds"))

    async with pool.write(15):  # the only connection
        task = asyncio.create_task(work(pool, WorkerMetrics(registry), stop))
        await eventually(failed)
    await eventually(works_again)
    stop.set()
    async with asyncio.timeout(60):
        await task
    await pool.close()
