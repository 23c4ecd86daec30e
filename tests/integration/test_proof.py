"""What is read counts only with the proof that the node is the primary still and a standby has all that it showed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from standfest.catalogue import clients
from standfest.catalogue.moment import now_s
from standfest.catalogue.snapshot import Catalogue
from standfest.errors import StandfestError
from standfest.storage.connection import DatabaseSettings, Host
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable
from tests.integration.orders import pool_of, query, stock_product
from tests.support.postgres import TEMPLATE_DATABASE, PostgresCluster, Server, TestDatabase

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
READERS = 50


class _Concluded(StandfestError):
    """Raised by a caller because of what it read."""


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


def insert_on_one_copy(database: TestDatabase, sku: str) -> None:
    """A product that is visible on the primary and on no standby; the standby is frozen."""
    with psycopg.connect(database.dsn("postgres"), autocommit=True) as admin:
        admin.execute("SET synchronous_commit = local")
        admin.execute(
            "INSERT INTO product (sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active,"
            " stock_policy) VALUES (%s, 'x', 'x', 'piece', 0, 1, 'zero', true, 'tracked')",
            (sku,),
        )


async def skus(pool: Database) -> set[str]:
    """SKUs of all products, as one read shows them."""
    async with pool.read(30) as connection:
        rows = await (await connection.execute("SELECT sku FROM product")).fetchall()
    return {sku for (sku,) in rows}


async def skus_once_proven(pool: Database) -> set[str]:
    """SKUs of all products, as the first read shows them that has its proof."""
    deadline = Deadline.after(60)
    while True:
        try:
            return await skus(pool)
        except DatabaseUnavailable:
            assert not deadline.passed, f"not within 60 s, at {pool.primary}"
            await asyncio.sleep(0.1)


async def test_a_row_that_only_the_primary_has_is_not_shown(database: TestDatabase, pool: Database) -> None:
    """While no standby answers, a read fails; once one does, the row is on it, and the read shows it."""
    assert await skus_once_proven(pool) == set()
    with database.standby.paused():
        insert_on_one_copy(database, "alone")
        assert query(database, "SELECT sku FROM product") == [("alone",)]
        with pytest.raises(DatabaseUnavailable):
            await skus(pool)
    assert await skus_once_proven(pool) == {"alone"}


@pytest.mark.parametrize("way", ["read", "write"])
async def test_what_is_concluded_from_what_is_not_proven_is_not_said(
    database: TestDatabase, pool: Database, way: str
) -> None:
    """An error that a caller raises because of what it read is raised where that is proven, and not otherwise; what it
    wrote before is taken back."""

    async def conclude() -> None:
        async with pool.read(30) if way == "read" else pool.write(5) as connection:
            if way == "write":
                await connection.execute("UPDATE stock SET version = version + 1")
            raise _Concluded("it is not there")

    stock_product(database, "apple", 1)
    before = query(database, "SELECT version FROM stock")
    with pytest.raises(_Concluded):
        await conclude()
    with database.standby.paused(), pytest.raises(DatabaseUnavailable):
        await conclude()
    assert query(database, "SELECT version FROM stock") == before


async def test_readers_without_a_standby_leave_few_waiting_back_ends(database: TestDatabase, pool: Database) -> None:
    """However many read while no standby answers, their proofs wait in the server one at a time, and who comes while
    it is known is refused at once."""
    await skus_once_proven(pool)
    with database.standby.paused():
        results = await asyncio.gather(*(skus(pool) for _ in range(READERS)), return_exceptions=True)
        assert all(isinstance(result, DatabaseUnavailable) for result in results)
        with psycopg.connect(database.dsn("postgres")) as admin:
            assert len(admin.execute(WAITING).fetchall()) <= 3
        finding_out = asyncio.create_task(skus(pool))
        await asyncio.sleep(0)
        others = await asyncio.gather(*(skus(pool) for _ in range(READERS)), return_exceptions=True)
        assert not finding_out.done()
        assert all(isinstance(other, DatabaseUnavailable) for other in others)
        await asyncio.gather(finding_out, return_exceptions=True)


async def test_readers_share_their_proofs(database: TestDatabase, pool: Database) -> None:
    """Reads that are under way together need far fewer commits than there are reads."""
    await skus_once_proven(pool)
    before = _transaction_ids(database)
    await asyncio.gather(*(skus_once_proven(pool) for _ in range(READERS)))
    assert _transaction_ids(database) - before < READERS


def _transaction_ids(database: TestDatabase) -> int:
    [(number,)] = query(database, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    return int(str(number))


async def test_a_broken_connection_costs_no_reader_its_proof(database: TestDatabase, pool: Database) -> None:
    """Where every connection of the process was ended meanwhile, the next reads are answered all the same."""
    await skus_once_proven(pool)
    with psycopg.connect(database.dsn("postgres"), autocommit=True) as admin:
        for _ in range(5):
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE usename = 'standfest_app' AND query LIKE '%synchronous_standby_names%'"
            )
            assert await skus(pool) == set()


def _settings(cluster: PostgresCluster, *servers: Server) -> DatabaseSettings:
    password = cluster.password_file("standfest_app").read_text().strip()
    hosts = tuple(Host(server.host, server.port) for server in servers)
    return DatabaseSettings(hosts, TEMPLATE_DATABASE, "standfest_app", password)


async def test_who_only_reads_leaves_a_primary_that_was_replaced(
    disposable_postgres_two_standbys: PostgresCluster,
) -> None:
    """A primary that was replaced answers as one for ever: a catalogue that only reads leaves it, never shows its age
    as small meanwhile, and keeps a revoked key and an old price no longer than until it is read at the new one."""
    cluster = disposable_postgres_two_standbys
    database = TestDatabase(cluster, TEMPLATE_DATABASE)
    stock_product(database, "apple", 1)
    with psycopg.connect(cluster.dsn("standfest_owner"), autocommit=True) as owner:
        _, key = clients.add_client(owner, "Shop", ["orders:write"])
    pool = Database(_settings(cluster, *cluster.servers))
    try:
        catalogue = Catalogue(pool)
        await catalogue.refresh()
        assert pool.primary == cluster.primary.host
        new = await asyncio.to_thread(cluster.fail_over)
        assert query(database, "SELECT pg_is_in_recovery()") == [(False,)]
        with psycopg.connect(cluster.dsn("standfest_owner", server=new), autocommit=True) as owner:
            clients.revoke_key(owner, key.id)
            owner.execute("UPDATE product SET net_price = 20, transaction_id = pg_current_xact_id()")
        revoked_at_s = now_s()
        assert catalogue.authenticate(key.text) is not None
        deadline = Deadline.after(60)
        while catalogue.authenticate(key.text) is not None:
            assert not deadline.passed, f"still at {pool.primary}"
            assert catalogue.age_s > now_s() - revoked_at_s - 0.001
            try:
                await catalogue.refresh()
            except DatabaseUnavailable:
                await asyncio.sleep(0.1)
        assert pool.primary == new.host
        assert catalogue.products["apple"].net_price == 20
    finally:
        await pool.close()


async def test_of_two_primaries_a_new_reader_ends_at_the_one_that_commits(
    disposable_postgres_two_standbys: PostgresCluster,
) -> None:
    """A process that starts while two nodes say that they are the primary shows nothing of one that cannot commit."""
    cluster = disposable_postgres_two_standbys
    database = TestDatabase(cluster, TEMPLATE_DATABASE)
    stock_product(database, "old", 1)
    new = await asyncio.to_thread(cluster.fail_over)
    with psycopg.connect(cluster.dsn("standfest_owner", server=new), autocommit=True) as owner:
        owner.execute("UPDATE product SET sku = 'new'")
    for _ in range(5):  # which of the two answers first is chance
        pool = Database(_settings(cluster, *cluster.servers))
        try:
            assert await skus_once_proven(pool) == {"new"}
            assert pool.primary == new.host
        finally:
            await pool.close()
