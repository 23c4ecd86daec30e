"""An order is acknowledged only once a named standby has it, whatever happens to the wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from standfest.storage.connection import Connection, DatabaseSettings, Host
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable, NoStandby, OutcomeUnknown, TryAgain
from tests.integration.orders import order, place_one, pool_of, query, stock_product
from tests.support.postgres import TEMPLATE_DATABASE, PostgresCluster, TestDatabase

BACKENDS = "SELECT pid FROM pg_stat_activity WHERE usename = 'standfest_app' AND datname = current_database()"
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


async def waiting_backends(database: TestDatabase, expected: int = 1) -> list[int]:
    """Pids of the backends that wait for the standby, once there are as many as expected."""
    deadline = Deadline.after(10)
    while not deadline.passed:
        with psycopg.connect(database.dsn("postgres")) as admin:
            found = [row[0] for row in admin.execute(WAITING).fetchall()]
        if len(found) == expected:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{expected} backends waiting for the standby: not within 10 s")


async def test_no_answer_before_the_standby_has_it(database: TestDatabase, pool: Database) -> None:
    """While the standby is frozen an order ends as unknown at its deadline, and its repeat later is the same order."""
    apple = stock_product(database, "apple", 5)
    with database.standby.paused():
        with pytest.raises(OutcomeUnknown):
            await place_one(pool, order("k1", (apple, 2)), deadline_s=1)
        await waiting_backends(database)
    again = await place_one(pool, order("k1", (apple, 2)))
    assert again.repeated
    assert query(database, "SELECT reserved FROM stock") == [(2,)]


async def test_a_repeat_is_not_acknowledged_on_one_copy(database: TestDatabase, pool: Database) -> None:
    """An order that is visible but not replicated is not acknowledged to its repeat either."""
    apple = stock_product(database, "apple", 5)
    with database.standby.paused():
        with pytest.raises(OutcomeUnknown):
            await place_one(pool, order("k1", (apple, 2)), deadline_s=1)
        [backend] = await waiting_backends(database)
        with psycopg.connect(database.dsn("postgres"), autocommit=True) as admin:
            admin.execute("SELECT pg_cancel_backend(%s)", (backend,))
        await waiting_backends(database, 0)
        assert query(database, "SELECT count(*) FROM orders") == [(1,)]  # visible, on one copy
        with pytest.raises(OutcomeUnknown):
            await place_one(pool, order("k1", (apple, 2)), deadline_s=1)
    assert (await place_one(pool, order("k1", (apple, 2)))).repeated


@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_wait_cut_short_is_unknown(database: TestDatabase, pool: Database, end: str) -> None:
    """Where somebody cancels or terminates a backend that waits for the standby, the answer is unknown, never yes."""
    apple = stock_product(database, "apple", 5)
    with database.standby.paused():
        placing = asyncio.create_task(place_one(pool, order("k1", (apple, 2)), deadline_s=10))
        [backend] = await waiting_backends(database)
        with psycopg.connect(database.dsn("postgres"), autocommit=True) as admin:
            admin.execute(f"SELECT {end}(%s)".encode(), (backend,))
        with pytest.raises(OutcomeUnknown):
            await placing
    assert (await place_one(pool, order("k1", (apple, 2)))).repeated


async def test_a_cancelled_task_cancels_nothing_on_the_server(database: TestDatabase, pool: Database) -> None:
    """A task that is cancelled while it waits for the standby leaves the backend waiting."""
    apple = stock_product(database, "apple", 5)
    with database.standby.paused():
        placing = asyncio.create_task(place_one(pool, order("k1", (apple, 2)), deadline_s=10))
        backends = await waiting_backends(database)
        placing.cancel()
        with pytest.raises((asyncio.CancelledError, OutcomeUnknown)):
            await placing
        assert await waiting_backends(database) == backends
    assert (await place_one(pool, order("k1", (apple, 2)))).repeated


async def test_a_frozen_primary_holds_nobody(database: TestDatabase, pool: Database) -> None:
    """With every process of the primary frozen, an order ends at its deadline, and the next is placed on waking."""
    apple = stock_product(database, "apple", 5)
    await place_one(pool, order("k0", (apple, 1)))
    loop = asyncio.get_running_loop()
    with database.primary.paused():
        for key in ("k1", "k2"):
            begun = loop.time()
            with pytest.raises((OutcomeUnknown, DatabaseUnavailable)):
                await place_one(pool, order(key, (apple, 1)), deadline_s=0.5)
            assert loop.time() - begun < 5  # far from any driver's own time-out, near the deadline
    assert (await place_one(pool, order("k3", (apple, 1)))).order.status == "confirmed"


async def test_a_wait_for_a_lock_ends_and_leaves_a_usable_connection(database: TestDatabase) -> None:
    """An order whose stock somebody else holds ends as not placed, and its connection places the next one."""
    apple = stock_product(database, "apple", 5)
    pool = pool_of(database, connections_max=1)
    try:
        await place_one(pool, order("k0", (apple, 1)))
        before = query(database, BACKENDS)
        with psycopg.connect(database.dsn("standfest_owner")) as holder:
            holder.execute("SELECT 1 FROM stock FOR UPDATE")
            with pytest.raises(DatabaseUnavailable, match="try again"):
                await place_one(pool, order("k1", (apple, 1)))
        assert (await place_one(pool, order("k1", (apple, 1)))).repeated is False
        assert query(database, BACKENDS) == before
    finally:
        await pool.close()


async def test_a_primary_that_was_replaced_is_left(disposable_postgres: PostgresCluster) -> None:
    """A primary that was replaced and does not know answers reads for ever; one commit that cannot be is enough."""
    cluster = disposable_postgres
    old, new = (Host(server.host, server.port) for server in (cluster.primary, cluster.standby))
    password = cluster.password_file("standfest_app").read_text().strip()
    pool = Database(DatabaseSettings((old, new), TEMPLATE_DATABASE, "standfest_app", password))
    try:
        async with pool.write(5) as connection:
            assert connection.host == old
        with psycopg.connect(cluster.dsn("postgres", "postgres", cluster.standby), autocommit=True) as admin:
            admin.execute("SELECT pg_promote()")
        reading = asyncio.create_task(_read_until_lost(pool, old))
        with pytest.raises((NoStandby, OutcomeUnknown)):
            await _write_nothing(pool)
        await reading
        async with pool.glance(5) as connection:
            assert connection.host == new
    finally:
        await pool.close()


async def test_a_lock_that_is_held_for_ever_leads_to_the_new_primary(disposable_postgres: PostgresCluster) -> None:
    """Who waits in vain on a primary that was replaced, for one that waits for its standby, is sent to the new one."""
    cluster = disposable_postgres
    old, new = (Host(server.host, server.port) for server in (cluster.primary, cluster.standby))
    password = cluster.password_file("standfest_app").read_text().strip()
    pool = Database(DatabaseSettings((old, new), TEMPLATE_DATABASE, "standfest_app", password))
    lock = "SELECT pg_advisory_lock(1)"
    try:
        async with pool.glance(5) as connection:
            assert connection.host == old
        with psycopg.connect(cluster.dsn("postgres", TEMPLATE_DATABASE)) as holder:
            holder.execute(lock)
            with psycopg.connect(cluster.dsn("postgres", "postgres", cluster.standby), autocommit=True) as admin:
                admin.execute("SELECT pg_promote()")
            with pytest.raises(TryAgain):
                async with pool.connection(Deadline.after(10)) as connection:
                    await connection.execute(lock.encode())
        async with pool.glance(5) as connection:
            assert connection.host == new
    finally:
        await pool.close()


async def test_a_standby_that_is_asked_says_when_it_was_promoted(disposable_postgres: PostgresCluster) -> None:
    """One connection, asked again, tells that its node has become the primary: none has to be made anew."""
    cluster = disposable_postgres
    password = cluster.password_file("standfest_app").read_text().strip()
    host = Host(cluster.standby.host, cluster.standby.port)
    connection = await Connection.open(host, DatabaseSettings((host,), TEMPLATE_DATABASE, "standfest_app", password), 5)
    assert connection.on_primary is False
    with psycopg.connect(cluster.dsn("postgres", "postgres", cluster.standby), autocommit=True) as admin:
        admin.execute("SELECT pg_promote()")
    deadline = Deadline.after(10)
    answers = [False]
    while not answers[-1] and not deadline.passed:
        await connection.ask(1)
        answers.append(connection.on_primary)
    assert answers[-1]
    await connection.close()


async def _write_nothing(pool: Database) -> None:
    async with pool.write(1):
        pass


async def _read_until_lost(pool: Database, host: Host) -> None:
    """Reads, again and again, from `host`."""
    deadline = Deadline.after(10)
    while not deadline.passed:
        async with pool.glance(5) as connection:
            if connection.host != host:
                return
        await asyncio.sleep(0.02)


async def test_an_abandoned_connection_is_not_used_again(database: TestDatabase) -> None:
    """A connection whose deadline passed just when its answer had come is closed, though it still looks open."""
    pool = pool_of(database, connections_max=1)
    try:
        async with pool.connection(Deadline.after(5)) as connection:
            connection.abandon()
            assert not connection.closed
        async with pool.connection(Deadline.after(5)) as another:
            assert another is not connection
            await another.execute("SELECT 1")
    finally:
        await pool.close()


async def test_a_cancelled_statement_is_not_placed_and_told_so(database: TestDatabase, pool: Database) -> None:
    """An order whose statement somebody cancels before the commit ends as not placed."""
    apple = stock_product(database, "apple", 5)
    with (
        psycopg.connect(database.dsn("postgres")) as holder,
        psycopg.connect(database.dsn("postgres"), autocommit=True) as admin,
    ):
        holder.execute("LOCK TABLE stock")
        placing = asyncio.create_task(place_one(pool, order("k1", (apple, 2))))
        cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = %s"
        deadline = Deadline.after(10)
        while not admin.execute(cancel, ("standfest_app",)).fetchone():
            assert not deadline.passed, "no backend waits for the lock"
            await asyncio.sleep(0.02)
        with pytest.raises(DatabaseUnavailable, match="try again"):
            await placing
    assert query(database, "SELECT count(*) FROM orders") == [(0,)]
