"""The direct path against a real PostgreSQL with a named synchronous standby."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from psycopg.sql import SQL

from standfest.intake.direct import Placement, place
from standfest.intake.errors import KeyReused
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable
from tests.integration.orders import order, place_one, pool_of, query, stock_product
from tests.support.postgres import TestDatabase


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


async def test_a_placed_order_is_there_with_its_lines_stock_event_and_change(
    database: TestDatabase, pool: Database
) -> None:
    """An order is written with all that belongs to it, and its stock is reserved."""
    apple = stock_product(database, "apple", 5)
    placement = await place_one(pool, order("k1", (apple, 2), (apple, 1)))
    assert (placement.order.status, placement.repeated) == ("confirmed", False)
    assert query(database, "SELECT on_hand, reserved FROM stock") == [(5, 3)]
    assert query(database, "SELECT count(*) FROM order_line") == [(2,)]
    assert query(database, "SELECT type, version FROM order_event") == [("order.confirmed", 1)]
    assert query(database, "SELECT type, order_id FROM change") == [("order.confirmed", placement.order.order_id)]


async def test_a_repeat_gets_the_stored_order_and_changes_nothing(database: TestDatabase, pool: Database) -> None:
    """The same key with the same request is answered from what is stored, and stock moves once."""
    apple = stock_product(database, "apple", 5)
    first = await place_one(pool, order("k1", (apple, 2)))
    again = await place_one(pool, order("k1", (apple, 2)))
    assert again.repeated
    assert again.order == first.order
    assert query(database, "SELECT reserved FROM stock") == [(2,)]


async def test_a_repeat_with_another_request_is_refused(database: TestDatabase, pool: Database) -> None:
    """A key that was used for another request is refused, and the first order stays as it was."""
    apple = stock_product(database, "apple", 5)
    first = await place_one(pool, order("k1", (apple, 2)))
    [outcome] = await place(pool, [order("k1", (apple, 3))], Deadline.after(5))
    assert isinstance(outcome, KeyReused)
    assert outcome.order_id == first.order.order_id
    assert query(database, "SELECT reserved FROM stock") == [(2,)]


async def test_a_shortage_declines_one_order_and_not_its_neighbours(database: TestDatabase, pool: Database) -> None:
    """In a batch that meets a shortage each order is decided on by itself, first come first served."""
    apple, pear = stock_product(database, "apple", 5), stock_product(database, "pear", 1, "backorder")
    wanted = [
        order("k1", (apple, 3)),
        order("k2", (apple, 3)),
        order("k3", (apple, 2)),
        order("k4", (pear, 4)),
    ]
    outcomes = await place(pool, wanted, Deadline.after(5))
    statuses = [outcome.order.status for outcome in outcomes if isinstance(outcome, Placement)]
    assert statuses == ["confirmed", "declined", "confirmed", "backordered"]
    assert query(database, "SELECT reserved FROM stock ORDER BY product_id") == [(5,), (1,)]
    assert [str(row[0]) for row in query(database, "SELECT status FROM orders ORDER BY idempotency_key")] == statuses
    refused, again = outcomes[1], await place_one(pool, order("k2", (apple, 3)))
    assert isinstance(refused, Placement)
    assert (again.repeated, again.order.status, again.shortages) == (True, "declined", refused.shortages)
    assert again.shortages[0].available == 2


async def test_two_hundred_clients_share_a_hundred_pieces(database: TestDatabase, pool: Database) -> None:
    """Of 200 orders at once for one piece each of the last 100, exactly 100 are confirmed, the others recorded."""
    last = stock_product(database, "last", 100)
    placements = await asyncio.gather(
        *(place_one(pool, order(f"k{number}", (last, 1), client=uuid4())) for number in range(200))
    )
    statuses = [placement.order.status for placement in placements]
    assert (statuses.count("confirmed"), statuses.count("declined")) == (100, 100)
    assert query(database, "SELECT on_hand, reserved FROM stock") == [(100, 100)]
    assert query(database, "SELECT status, count(*) FROM orders GROUP BY status ORDER BY status") == [
        ("confirmed", 100),
        ("declined", 100),
    ]


async def test_without_a_named_standby_nothing_is_placed(database: TestDatabase, pool: Database) -> None:
    """Where synchronous_standby_names is `*`, an order is refused before the commit and leaves nothing."""
    apple = stock_product(database, "apple", 5)
    with psycopg.connect(database.dsn("postgres"), autocommit=True) as admin:
        row = admin.execute("SHOW synchronous_standby_names").fetchone()
        assert row is not None
        try:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            admin.execute("SELECT pg_reload_conf()")
            await _until_setting(pool, "*")
            with pytest.raises(DatabaseUnavailable, match="no synchronous standby is named"):
                await place(pool, [order("k1", (apple, 2))], Deadline.after(5))
        finally:
            admin.execute(SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(row[0]))
            admin.execute("SELECT pg_reload_conf()")
            await _until_setting(pool, row[0])
    assert query(database, "SELECT count(*) FROM orders") == [(0,)]


async def _until_setting(pool: Database, value: str) -> None:
    deadline = Deadline.after(10)
    seen = None
    while seen != value:
        assert not deadline.passed, f"synchronous_standby_names is still {seen}"
        async with pool.connection(deadline) as connection:
            row = await (await connection.execute("SHOW synchronous_standby_names")).fetchone()
            assert row is not None
            seen = row[0]
