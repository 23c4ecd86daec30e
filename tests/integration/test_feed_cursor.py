"""The feed's cursor: a failover does not end it, what is not a position any more is refused, nothing is skipped."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest
import pytest_asyncio

from standfest.sales.changes import ChangePage, read_changes
from standfest.sales.cursors import KEY_BYTES, Cursors, parse_cursor
from standfest.sales.errors import CursorExpired
from standfest.sales.feed_lag import FeedLag
from standfest.storage.connection import DatabaseSettings, Host
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable
from standfest.storage.generation import read_generation
from tests.integration.orders import pool_of, query
from tests.support.api import RunningApi
from tests.support.postgres import TEMPLATE_DATABASE, PostgresCluster, Server, TestDatabase

CURSORS = Cursors(bytes(KEY_BYTES))
INSERT = "INSERT INTO change (type, sku, version, at) VALUES ('product.changed', %s, 1, now())"
OLD_FORM = "ODEyNy0x"  # 8127-1


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


async def read(pool: Database, after: str | None = None) -> ChangePage:
    """A page of the feed."""
    sealed = None if after is None else parse_cursor("changes", after)
    async with pool.read(30) as connection:
        return await read_changes(connection, CURSORS, sealed, 100, None)


def change(dsn: str, *skus: str, local: bool = False) -> None:
    """Appends changes, each in a transaction of its own; `local`: without waiting for a standby."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if local:
            connection.execute("SET synchronous_commit = local")
        for sku in skus:
            connection.execute(INSERT, (sku,))


async def test_no_change_is_skipped_where_a_node_is_lost_with_what_it_alone_had(
    disposable_postgres_two_standbys: PostgresCluster,
) -> None:
    """The new primary gives the transaction ids that only the lost node had used to other changes: who follows the feed
    reads all of them, with the cursor that it had, and was shown nothing that is gone."""
    cluster = disposable_postgres_two_standbys
    password = cluster.password_file("standfest_app").read_text().strip()
    hosts = tuple(Host(server.host, server.port) for server in cluster.servers)
    pool = Database(DatabaseSettings(hosts, TEMPLATE_DATABASE, "standfest_app", password))
    seen: list[str] = []
    cursor: str | None = None

    async def follow() -> None:
        nonlocal cursor
        page = await read(pool, cursor)
        seen.extend(each.subject for each in page.changes)
        cursor = page.next

    try:
        change(cluster.dsn("standfest_owner"), "before 1", "before 2")
        await follow()
        assert seen == ["before 1", "before 2"]
        for standby in cluster.standbys:
            standby.stop()
        change(cluster.dsn("postgres", TEMPLATE_DATABASE), *(f"lost {n}" for n in range(20)), local=True)
        with contextlib.suppress(DatabaseUnavailable):
            await follow()
        used = _next_transaction_id(cluster, cluster.primary)
        cluster.primary.kill()
        for standby in cluster.standbys:
            standby.start()
        new = await asyncio.to_thread(cluster.fail_over)
        assert _next_transaction_id(cluster, new) < used
        after = [f"after {n}" for n in range(8)]
        change(cluster.dsn("standfest_owner", server=new), *after)
        deadline = Deadline.after(60)
        while seen[-1] != after[-1]:
            assert not deadline.passed, seen
            with contextlib.suppress(DatabaseUnavailable):
                await follow()
            await asyncio.sleep(0.05)
        assert seen == ["before 1", "before 2", *after]
    finally:
        await pool.close()


def _next_transaction_id(cluster: PostgresCluster, server: Server) -> int:
    with psycopg.connect(cluster.dsn("postgres", "postgres", server)) as connection:
        row = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
    assert row is not None
    return int(str(row[0]))


async def test_a_new_generation_ends_every_cursor(database: TestDatabase, pool: Database) -> None:
    """After a restore, an upgrade or a recovery a cursor is refused, also where its position is one again."""
    change(database.dsn("standfest_owner"), "a", "b")
    page = await read(pool)
    assert (await read(pool, page.next)).changes == []
    query(database, "SELECT begin_generation()")
    for cursor in (page.next, page.changes[0].cursor):
        with pytest.raises(CursorExpired):
            await read(pool, cursor)
    assert [each.subject for each in (await read(pool)).changes] == ["a", "b"]


async def test_a_cursor_of_an_empty_feed_goes_on(database: TestDatabase, pool: Database) -> None:
    """Who began before there was any change reads the first one."""
    page = await read(pool)
    change(database.dsn("standfest_owner"), "a")
    assert [each.subject for each in (await read(pool, page.next)).changes] == ["a"]


async def test_a_position_that_is_not_there_is_refused(database: TestDatabase, pool: Database) -> None:
    """A change that is gone, one that never was, and one that lies ahead of the database are no positions."""
    change(database.dsn("standfest_owner"), "a", "b")
    gone = (await read(pool)).changes[1].cursor
    query(database, "DELETE FROM change WHERE sku = 'b' RETURNING 1")
    async with pool.read(5) as connection:
        generation = await read_generation(connection)
    never, ahead = (CURSORS.seal("changes", generation, *position) for position in ((1, 1), (2**63, 7)))
    for cursor in (gone, never, ahead):
        with pytest.raises(CursorExpired):
            await read(pool, cursor)


async def test_a_restore_into_another_cluster_is_another_generation(
    database: TestDatabase, pool: Database, disposable_postgres: PostgresCluster
) -> None:
    """The same rows in a cluster of another system identifier are another history, whoever brought them there."""
    [row] = query(database, "SELECT value::text FROM generation")
    async with pool.read(5) as connection:
        here = await read_generation(connection)
    restored = TestDatabase(disposable_postgres, TEMPLATE_DATABASE)
    query(restored, f"UPDATE generation SET value = '{row[0]}' RETURNING 1")
    other = pool_of(restored)
    try:
        async with other.read(5) as connection:
            there = await read_generation(connection)
    finally:
        await other.close()
    assert here.split()[0] == there.split()[0]
    assert here != there


def test_the_application_cannot_begin_a_generation(database: TestDatabase) -> None:
    """Who takes over an API process cannot end everybody's cursors."""
    with psycopg.connect(database.dsn("standfest_app")) as connection, pytest.raises(psycopg.Error):
        connection.execute("SELECT begin_generation()")


def test_who_has_to_start_again_is_told_so_and_how(api: RunningApi, admin: httpx.Client) -> None:
    """410 with a type that programs know, for cursors of the old form, of another generation and of nobody, and what
    to do next; without a cursor the feed is read from its beginning."""
    change(api.database.dsn("standfest_owner"), "told")
    cursor = admin.get("/v1/changes").json()["next"]
    query(api.database, "SELECT begin_generation()")
    for path in (
        f"/v1/changes?after={cursor}",
        f"/v1/changes?after={OLD_FORM}",
        "/v1/orders?cursor=MTI",
        "/v1/products?cursor=" + "A" * 32,
    ):
        gone = admin.get(path)
        assert (gone.status_code, gone.headers["Content-Type"]) == (410, "application/problem+json"), gone.text
        assert gone.json()["type"].endswith("/cursor-expired")
        assert "Start without one" in gone.json()["detail"]
        assert gone.json()["errors"][0]["parameter"] in path
    again = admin.get("/v1/changes", params={"limit": 1000}).json()
    assert "told" in [each["subject"] for each in again["changes"]]
    assert again["next"] != cursor


async def test_a_transaction_that_an_operator_forgot_holds_the_feed_until_it_is_ended(
    database: TestDatabase, pool: Database
) -> None:
    """It holds the feed for everybody, in whichever database it is, and the figure of the feed's lag grows; the idle
    limit, which counts for operators as well, ends it, and everything is served."""
    lag = FeedLag(pool)
    await lag.look()
    with psycopg.connect(database.cluster.dsn("postgres", "postgres")) as operator:
        operator.execute("SET idle_in_transaction_session_timeout = '3s'")
        operator.commit()
        operator.execute("SELECT pg_current_xact_id()")
        forgotten_at = time.monotonic()
        change(database.dsn("standfest_owner"), "held")
        assert (await read(pool)).changes == []
        await lag.look()
        assert lag.lag_s >= time.monotonic() - forgotten_at
        deadline = Deadline.after(30)
        while not (shown := (await read(pool)).changes):
            assert not deadline.passed
            await asyncio.sleep(0.1)
        assert [each.subject for each in shown] == ["held"]
        served_at = time.monotonic()
        await lag.look()
        assert lag.lag_s <= time.monotonic() - served_at
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            operator.execute("SELECT 1")


async def test_idle_limits_end_no_wait_for_a_standby(database: TestDatabase, pool: Database) -> None:
    """A commit that waits for its standby longer than sessions may be idle waits on, and is not shown unreplicated."""
    with database.standby.paused(), psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as owner:
        owner.execute("SET idle_in_transaction_session_timeout = '200ms'")
        pid = owner.info.backend_pid
        waiting = asyncio.create_task(asyncio.to_thread(owner.execute, INSERT, ("waits",)))
        await _until_it_waits_longer_than(database, pid, 1.0)
        assert not waiting.done()
        database.standby.resume()
        await waiting
    assert [each.subject for each in (await _shown(pool)).changes] == ["waits"]


async def _until_it_waits_longer_than(database: TestDatabase, pid: int, seconds: float) -> None:
    asked = (
        "SELECT now() - query_start > make_interval(secs => %s) FROM pg_stat_activity"
        " WHERE pid = %s AND wait_event = 'SyncRep'"
    )
    deadline = Deadline.after(30)
    with psycopg.connect(database.dsn("postgres"), autocommit=True) as admin:
        while admin.execute(asked, (seconds, pid)).fetchone() != (True,):
            assert not deadline.passed
            await asyncio.sleep(0.05)


async def _shown(pool: Database) -> ChangePage:
    """A page that is not empty."""
    deadline = Deadline.after(30)
    while True:
        with contextlib.suppress(DatabaseUnavailable):
            page = await read(pool)
            if page.changes:
                return page
        assert not deadline.passed
        await asyncio.sleep(0.05)
