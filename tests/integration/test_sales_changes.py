"""The feed of changes against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from standfest.catalogue import stock
from standfest.catalogue.stock import Count
from standfest.sales import changes
from standfest.sales.changes import ChangePage, read_changes
from standfest.sales.cursors import KEY_BYTES, Cursors, Sealed, parse_cursor
from standfest.storage.database import Database
from tests.integration.orders import CLIENT, order, place_one, pool_of, query, stock_product
from tests.support.postgres import TestDatabase

CURSORS = Cursors(bytes(KEY_BYTES))
AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
INSERT = "INSERT INTO change (type, sku, version, at) VALUES ('product.changed', %s, 1, now())"


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


def parsed(cursor: str | None) -> Sealed | None:
    """A cursor as the API takes it."""
    return None if cursor is None else parse_cursor("changes", cursor)


async def read(pool: Database, after: str | None = None, limit: int = 100, client: UUID | None = None) -> ChangePage:
    """A page of the feed."""
    async with pool.read(5) as connection:
        return await read_changes(connection, CURSORS, parsed(after), limit, client)


def subjects(page: ChangePage) -> list[str]:
    """What a page is about."""
    return [change.subject for change in page.changes]


async def test_a_transaction_that_commits_late_is_never_skipped(database: TestDatabase, pool: Database) -> None:
    """It began first and commits last; readers that paged meanwhile get it, and everything once."""
    dsn = database.dsn("standfest_owner")
    seen: list[str] = []
    cursor = None
    with psycopg.connect(dsn) as early, psycopg.connect(dsn) as late:
        early.execute(INSERT, ("early",))
        late.execute(INSERT, ("late",))
        late.commit()
        for _ in range(3):
            page = await read(pool, cursor)
            seen += subjects(page)
            cursor = page.next
        assert seen == []  # "late" has to wait: "early" comes before it
        early.execute(INSERT, ("early too",))
        early.commit()
    page = await read(pool, cursor)
    seen += subjects(page)
    assert seen == ["early", "early too", "late"]
    assert subjects(await read(pool, page.next)) == []


async def test_readers_miss_nothing_while_many_write(database: TestDatabase, pool: Database) -> None:
    """Two readers page through the feed while twelve writers commit out of order: both see everything once, alike."""
    apple = stock_product(database, "apple", 1_000)
    done = asyncio.Event()

    async def write(number: int) -> None:
        for turn in range(5):
            async with pool.write(20) as connection:
                await connection.execute(INSERT, (f"{number}/{turn}",))
                await asyncio.sleep(0.002 * ((number * 7 + turn * 3) % 11))  # so that they commit out of order
            await place_one(pool, order(f"k{number}-{turn}", (apple, 1)))

    async def follow() -> list[str]:
        seen: list[str] = []
        cursor = None
        while True:
            last_round = done.is_set()
            page = await read(pool, cursor, limit=7)
            seen += subjects(page)
            cursor = page.next
            if last_round and not page.changes:
                return seen
            await asyncio.sleep(0.005)

    readers = [asyncio.create_task(follow()) for _ in range(2)]
    await asyncio.gather(*(write(number) for number in range(12)))
    done.set()
    first, second = await asyncio.gather(*readers)
    assert first == second
    written = {str(row[0]) for row in query(database, "SELECT coalesce(order_id::text, sku) FROM change")}
    assert len(first) == len(set(first)) == 120
    assert set(first) == written


async def test_pages_follow_each_other_without_gap_or_repetition(database: TestDatabase, pool: Database) -> None:
    """Pages of any size give the same changes in the same order, and the cursor of a change continues behind it."""
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        for number in range(7):
            connection.execute(INSERT, (str(number),))
            if number % 3 == 0:
                connection.commit()
    whole = await read(pool)
    assert subjects(whole) == [str(number) for number in range(7)]
    for limit in (1, 2, 3, 7):
        seen: list[str] = []
        cursor = None
        while page := await read(pool, cursor, limit):
            if not page.changes:
                break
            seen += subjects(page)
            cursor = page.next
        assert seen == subjects(whole)
    assert subjects(await read(pool, whole.changes[3].cursor)) == ["4", "5", "6"]


async def test_a_client_sees_its_own_orders_and_the_catalogue(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' orders are left out, and a reader gets on behind however many of them."""
    monkeypatch.setattr(changes, "_SCAN_MAX", 3)
    apple = stock_product(database, "apple", 100)
    stranger = uuid4()
    for number in range(8):
        await place_one(pool, order(f"k{number}", (apple, 1), client=stranger))
    mine = (await place_one(pool, order("mine", (apple, 1)))).order
    async with pool.write(5) as connection:
        await stock.put_many(connection, [Count("apple", "50")], AT)
    seen: list[str] = []
    cursor = None
    for _ in range(4):
        page = await read(pool, cursor, 2, CLIENT)
        seen += subjects(page)
        cursor = page.next
    assert seen == [str(mine.order_id), "apple"]
