"""The catalogue in memory against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

import psycopg
import pytest
import pytest_asyncio

from standfest.catalogue import clients, snapshot
from standfest.catalogue.snapshot import Catalogue, CatalogueTooLarge
from standfest.catalogue.snapshot_format import Position
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable
from tests.integration.orders import pool_of, stock_product
from tests.support.postgres import TestDatabase
from tests.support.waiting import PATIENCE

RENAME = "UPDATE product SET name_en = %s, version = version + 1, transaction_id = pg_current_xact_id() WHERE sku = %s"


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database, 4)
    yield pool
    await pool.close()


def away(deadline_s: float) -> NoReturn:
    """`Database.read` while no node answers."""
    raise DatabaseUnavailable(f"away, however long one waits ({deadline_s} s)")


class CountingCatalogue(Catalogue):
    """Counts how often the database is asked."""

    refreshes = 0

    async def refresh(self) -> None:
        """Counts, then refreshes."""
        self.refreshes += 1
        await super().refresh()


@asynccontextmanager
async def running(catalogue: Catalogue) -> AsyncIterator[None]:
    """The catalogue's own loop for the length of a with block."""
    task = asyncio.create_task(catalogue.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 10) -> None:
    """Asks until the answer is yes."""
    deadline = Deadline.after(PATIENCE * timeout_s)
    while not await condition():
        assert not deadline.passed, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(0.05)


async def test_while_the_database_does_not_answer_nobody_waits_for_it(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a refresh has failed, or took too long, asking for another says no at once; then it is yes again."""
    asked = asyncio.Event()

    async def hangs(catalogue: Catalogue) -> None:
        asked.set()
        await asyncio.sleep(60)

    catalogue = Catalogue(pool)
    async with running(catalogue):
        assert await catalogue.refresh_now(timeout_s=5)
        with monkeypatch.context() as broken:
            broken.setattr(pool, "read", away)
            await until(lambda: _answer(catalogue.failures > 0), "a refresh has failed")
            assert not any(await asyncio.gather(*(_at_once(catalogue.refresh_now(60)) for _ in range(100))))
        await until(catalogue.refresh_now, "it is refreshed again")
    hanging = CountingCatalogue(pool)
    monkeypatch.setattr(hanging, "refresh", lambda: hangs(hanging))
    async with running(hanging):
        await asked.wait()
        assert not await hanging.refresh_now(timeout_s=0.1)
        assert not await _at_once(hanging.refresh_now(60))


async def _answer(value: bool) -> bool:
    return value


async def _at_once(answer: Awaitable[bool]) -> bool:
    """The answer of what must not wait for a minute."""
    async with asyncio.timeout(60):
        return await answer


def rename(connection: psycopg.Connection[tuple[object, ...]], sku: str, name: str) -> None:
    """Changes a product as the catalogue's statements do, in the connection's transaction."""
    connection.execute(RENAME, (name, sku))


def names(catalogue: Catalogue) -> dict[str, str]:
    """SKU -> English name, as the catalogue has them."""
    return {sku: product.name_en for sku, product in catalogue.products.items()}


async def test_a_change_that_commits_late_is_never_skipped(database: TestDatabase, pool: Database) -> None:
    """A transaction begins first and commits last, with a refresh in between: both changes arrive."""
    for sku in ("a", "b"):
        stock_product(database, sku, 1)
    catalogue = Catalogue(pool)
    await catalogue.refresh()
    dsn = database.dsn("standfest_owner")
    with psycopg.connect(dsn) as early, psycopg.connect(dsn) as late:
        rename(early, "a", "early")
        rename(late, "b", "late")
        late.commit()
        await catalogue.refresh()
        assert names(catalogue) == {"a": "x", "b": "late"}
        rename_again = psycopg.connect(dsn)
        rename(rename_again, "b", "later")
        rename_again.commit()
        rename_again.close()
        await catalogue.refresh()
        assert names(catalogue) == {"a": "x", "b": "later"}
        early.commit()
    await catalogue.refresh()
    assert names(catalogue) == {"a": "early", "b": "later"}


async def test_an_idle_refresh_reads_no_product(database: TestDatabase, pool: Database) -> None:
    """Where nothing was written since, the statement of a refresh has no row to give."""
    stock_product(database, "a", 1)
    catalogue = Catalogue(pool)
    await catalogue.refresh()
    before = catalogue.products["a"]
    await catalogue.refresh()
    assert catalogue.products["a"] is before


async def test_more_products_than_a_page_of_one_transaction_are_all_read(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import of many products in one transaction spans pages, and none is left out."""
    monkeypatch.setattr(snapshot, "PAGE", 10)
    first, later = Catalogue(pool), Catalogue(pool)
    await first.refresh()
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        connection.execute(
            "INSERT INTO product (sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active,"
            " stock_policy) SELECT 'p' || n, 'x', 'x', 'piece', 0, 1, 'zero', true, 'tracked'"
            " FROM generate_series(1, 35) AS n"
        )
    for catalogue in (first, later):  # one reads what changed, the other everything
        await catalogue.refresh()
        assert set(catalogue.products) == {f"p{number}" for number in range(1, 36)}


async def test_a_catalogue_beyond_its_bound_is_refused(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More products than the bound raise, instead of filling the memory."""
    monkeypatch.setattr(snapshot, "PRODUCTS_MAX", 1)
    for sku in ("a", "b"):
        stock_product(database, sku, 1)
    with pytest.raises(CatalogueTooLarge):
        await Catalogue(pool).refresh()


async def test_a_new_key_lets_in_and_a_revoked_one_does_not(database: TestDatabase, pool: Database) -> None:
    """A key counts from the next refresh on, with the client's scopes, and no longer once revoked."""
    catalogue = Catalogue(pool)
    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
        client_id, key = clients.add_client(connection, "Shop", ["orders:write"])
        second = clients.add_key(connection, "Shop")
        assert catalogue.authenticate(key.text) is None
        await catalogue.refresh()
        client = catalogue.authenticate(key.text)
        assert client is not None
        assert (client.id, client.name, client.scopes) == (client_id, "Shop", frozenset({"orders:write"}))
        assert catalogue.authenticate(second.text) == client
        assert catalogue.authenticate(key.text[:-1] + ("A" if key.text[-1] != "A" else "B")) is None
        clients.revoke_key(connection, key.id)
        await catalogue.refresh()
    assert catalogue.authenticate(key.text) is None
    assert catalogue.authenticate(second.text) == client


async def test_who_asks_for_a_refresh_sees_what_was_committed_before(database: TestDatabase, pool: Database) -> None:
    """refresh_now never joins a refresh that began before it: what the caller knows to be committed is there."""
    catalogue = Catalogue(pool)
    async with running(catalogue):
        for number in range(8):
            stock_product(database, f"p{number}", 1)
            assert await catalogue.refresh_now()
            assert f"p{number}" in catalogue.products


async def test_many_who_ask_at_once_share_a_refresh(database: TestDatabase, pool: Database) -> None:
    """A hundred requests for an unknown SKU cost the database no more than two refreshes."""
    catalogue = CountingCatalogue(pool)
    async with running(catalogue):
        assert await catalogue.refresh_now()
        before = catalogue.refreshes
        assert all(await asyncio.gather(*(catalogue.refresh_now() for _ in range(100))))
        assert catalogue.refreshes - before <= 2


async def test_without_a_database_the_catalogue_stays_and_ages(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database is away, what is known stays usable, its age grows, and asking says False."""
    stock_product(database, "a", 1)
    catalogue = Catalogue(pool)
    assert catalogue.age_s == float("inf")
    await catalogue.refresh()
    age_s = catalogue.age_s
    monkeypatch.setattr(pool, "read", away)
    with pytest.raises(DatabaseUnavailable):
        await catalogue.refresh()
    async with running(catalogue):
        assert not await catalogue.refresh_now()
    assert "a" in catalogue.products
    assert catalogue.age_s > age_s


async def test_a_refresh_that_fails_unexpectedly_does_not_end_the_refreshing(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw is counted, the catalogue stays, and the next refresh goes on."""
    stock_product(database, "a", 1)
    catalogue = Catalogue(pool)
    async with running(catalogue):
        assert await catalogue.refresh_now()
        with monkeypatch.context() as broken:
            broken.setattr(snapshot, "statement", lambda _name: "SELECT nothing")
            assert not await catalogue.refresh_now(timeout_s=5)
        assert "a" in catalogue.products
        assert catalogue.failures >= 1
        await until(catalogue.refresh_now, "it is refreshed again")


async def test_after_another_server_took_over_everything_is_read_again(database: TestDatabase, pool: Database) -> None:
    """Transaction ids may start again lower on a new primary: its changes are seen all the same."""
    stock_product(database, "a", 1)
    catalogue = Catalogue(pool)
    await catalogue.refresh()
    catalogue._position = Position(
        str(10**9), catalogue._position.server
    )  # as if ids had been used up that never reached the new primary
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        rename(connection, "a", "after")
    await catalogue.refresh()
    assert names(catalogue) == {"a": "x"}  # the horizon alone does not show it
    catalogue._position = Position(str(10**9), "127.0.22.2 15432 2026-01-01")
    await catalogue.refresh()
    assert names(catalogue) == {"a": "after"}
