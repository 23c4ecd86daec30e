"""The catalogue with its file against a real PostgreSQL: started from it, kept up to date, and old in the end."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import msgspec
import psycopg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from standfest.catalogue import clients, keeping, snapshot
from standfest.catalogue.moment import Moment
from standfest.catalogue.snapshot import Catalogue
from standfest.catalogue.snapshot_file import SnapshotFile
from standfest.catalogue.snapshot_format import Contents
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable
from tests.integration.orders import pool_of, stock_product
from tests.integration.test_catalogue_snapshot import away, names, rename, running, until
from tests.support.postgres import TestDatabase


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database, 4)
    yield pool
    await pool.close()


@pytest.fixture
def file(tmp_path: Path) -> SnapshotFile:
    """Where the catalogue is kept."""
    return SnapshotFile(tmp_path / "catalogue" / "api.snapshot")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes are due sooner than they are."""
    monkeypatch.setattr(keeping, "SPACING_S", 0.05)
    monkeypatch.setattr(keeping, "AGE_INTERVAL_S", 0.2)


def on_disk(file: SnapshotFile) -> Contents | None:
    """What another process would start with."""
    return SnapshotFile(file.path).load()


async def until_kept(catalogue: Catalogue, file: SnapshotFile) -> None:
    """Waits until all that is in memory is on disk."""

    async def kept() -> bool:
        contents = on_disk(file)
        return contents is not None and tuple(contents.products) == tuple(catalogue.products.values())

    await until(kept, "kept on disk")


async def test_a_process_starts_without_a_database(
    database: TestDatabase, pool: Database, file: SnapshotFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the one before read is there, keys as well, and its age goes on from when the database was read."""
    stock_product(database, "apple", 1)
    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
        client_id, key = clients.add_client(connection, "Shop", ["orders:write"])
    before = Catalogue(pool, file)
    async with running(before):
        await until_kept(before, file)
    monkeypatch.setattr(pool, "read", away)
    catalogue = Catalogue(pool, SnapshotFile(file.path))
    async with running(catalogue):
        await until(lambda: _answer(catalogue.age_s < math.inf), "loaded")
        assert catalogue.products == before.products
        client = catalogue.authenticate(key.text)
        assert client is not None
        assert (client.id, client.name, client.scopes) == (client_id, "Shop", frozenset({"orders:write"}))
        assert catalogue.authenticate("sf_abc_def") is None
        assert not await catalogue.refresh_now()
        assert catalogue.keeper is not None
        assert 0 < catalogue.age_s <= catalogue.keeper.age_s + 1
        assert catalogue.age_s >= before.age_s - 1


async def _answer(value: bool) -> bool:
    return value


async def test_a_restart_with_the_database_there_reads_only_what_changed(
    database: TestDatabase, pool: Database, file: SnapshotFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the position on disk the changes since are read, and not every product again; a key may have gone."""
    stock_product(database, "a", 1)
    stock_product(database, "b", 1)
    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
        _, key = clients.add_client(connection, "Shop", ["orders:write"])
        before = Catalogue(pool, file)
        async with running(before):
            await until_kept(before, file)
            assert before.authenticate(key.text) is not None
        rename(connection, "b", "later")
        clients.revoke_key(connection, key.id)
    monkeypatch.setattr(snapshot, "page", _read_everything)
    catalogue = Catalogue(pool, SnapshotFile(file.path))
    async with running(catalogue):
        assert await catalogue.refresh_now(timeout_s=10)
        assert names(catalogue) == {"a": "x", "b": "later"}
        assert catalogue.authenticate(key.text) is None
        await until_kept(catalogue, file)


def _read_everything(*_: object) -> NoReturn:
    raise DatabaseUnavailable("every product was to be read again")


async def test_a_catalogue_that_does_not_change_is_not_written_again(
    database: TestDatabase, pool: Database, file: SnapshotFile
) -> None:
    """Its age gets younger on disk while the snapshot stays the same file; a change is written at once."""
    stock_product(database, "a", 1)
    catalogue = Catalogue(pool, file)
    async with running(catalogue):
        await until_kept(catalogue, file)
        written, first = file.path.stat(), on_disk(file)

        async def younger() -> bool:
            now = on_disk(file)
            return first is not None and now is not None and now.read_at.boot_s > first.read_at.boot_s

        await until(younger, "a younger age on disk")
        assert (file.path.stat().st_ino, file.path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
        with psycopg.connect(database.dsn("standfest_owner")) as connection:
            rename(connection, "a", "new")
        await until(catalogue.refresh_now, "refreshed")
        await until_kept(catalogue, file)
        assert names(catalogue) == {"a": "new"}
        assert file.path.stat().st_ino != written.st_ino


async def test_a_disk_that_cannot_be_written_is_counted_and_tried_again(
    database: TestDatabase, pool: Database, file: SnapshotFile
) -> None:
    """The catalogue stays fresh in memory, each failure is logged and counted, and once there is room it is kept."""
    stock_product(database, "a", 1)
    file.path.parent.write_text("in the way")
    catalogue = Catalogue(pool, file)
    assert catalogue.keeper is not None
    keeper = catalogue.keeper
    with capture_logs() as logs:
        async with running(catalogue):
            await until(lambda: _answer(keeper.failures > 1), "failures counted")
            assert await catalogue.refresh_now(timeout_s=10)
            assert keeper.age_s == math.inf
            file.path.parent.unlink()
            await until_kept(catalogue, file)
    assert any(entry["event"] == "catalogue_snapshot_not_written" for entry in logs)


async def test_a_file_from_the_future_is_not_believed(
    database: TestDatabase, pool: Database, file: SnapshotFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the clock was set back far the age is not known: nothing is used before the database is read."""
    stock_product(database, "a", 1)
    before = Catalogue(pool, file)
    async with running(before):
        await until_kept(before, file)
    contents = on_disk(file)
    assert contents is not None
    now = Moment.ago(0)
    future = Moment("another run", now.boot_s, now.wall_s + 3600)
    file.write(msgspec.structs.replace(contents, read_at=future))
    file.path.with_name("api.snapshot.age").unlink(missing_ok=True)
    catalogue = Catalogue(pool, SnapshotFile(file.path))
    with monkeypatch.context() as gone:
        gone.setattr(pool, "read", away)
        async with running(catalogue):
            await until(lambda: _answer(catalogue.failures > 0), "asked the database")
            assert catalogue.age_s == math.inf
    async with running(catalogue):
        await until(catalogue.refresh_now, "refreshed")
        assert names(catalogue) == {"a": "x"}
