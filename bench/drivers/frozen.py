"""How fast each driver lets its caller go when the server is frozen or waits for its standby, and at what cost.

python -m bench.drivers.frozen
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # ships no types
import psycopg
import uvloop
from psycopg.conninfo import conninfo_to_dict

from standfest.storage.abandon import shut_socket
from tests.support.postgres import PostgresCluster, start_cluster, wait_until

DEADLINE_S = 0.3
GIVE_UP_S = 8.0
COMMIT = "INSERT INTO probe VALUES (1)"
STATES = "SELECT wait_event, state FROM pg_stat_activity WHERE application_name = 'probe'"


class PsycopgProbe:
    """Abandons by shutting the socket's duplicate; the query is never cancelled."""

    def __init__(self) -> None:
        self.notices: list[str | None] = []
        self.connection: psycopg.AsyncConnection[Any]

    async def connect(self, dsn: str) -> None:
        """Connect, listening to notices."""
        self.connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name="probe")
        self.connection.add_notice_handler(lambda diagnostic: self.notices.append(diagnostic.sqlstate))

    async def query(self, statement: str) -> object:
        """Run one statement."""
        return await self.connection.execute(statement.encode())

    def abandon(self) -> None:
        """Let the waiting caller go without a word to the server."""
        shut_socket(self.connection)

    def finish(self) -> None:
        """Give the connection's resources back."""
        self.connection.pgconn.finish()


class AsyncpgProbe:
    """Abandons by `terminate`."""

    def __init__(self) -> None:
        self.notices: list[str | None] = []
        self.connection: asyncpg.Connection

    async def connect(self, dsn: str) -> None:
        """Connect, listening to notices."""
        part = conninfo_to_dict(dsn)
        self.connection = await asyncpg.connect(
            host=part["host"], port=int(str(part["port"])), database=part["dbname"], user=part["user"],
            passfile=part["passfile"], server_settings={"application_name": "probe"},
        )  # fmt: skip
        self.connection.add_log_listener(lambda _, message: self.notices.append(message.sqlstate))

    async def query(self, statement: str) -> object:
        """Run one statement."""
        return await self.connection.execute(statement)

    def abandon(self) -> None:
        """Let the waiting caller go without a word to the server."""
        self.connection.terminate()

    def finish(self) -> None:
        """Give the connection's resources back."""
        self.connection.terminate()


Probe = PsycopgProbe | AsyncpgProbe


async def freed_after(call: Awaitable[object], abandon: Callable[[], None]) -> tuple[float, str]:
    """Milliseconds from the deadline until the caller is free, and what it was told."""
    task = asyncio.ensure_future(call)
    done, _ = await asyncio.wait({task}, timeout=DEADLINE_S)
    if done:
        return 0.0, f"ended before the deadline: {task.exception() or 'success'}"
    began = time.perf_counter()
    abandon()
    await asyncio.wait({task}, timeout=GIVE_UP_S)
    elapsed = (time.perf_counter() - began) * 1e3
    if not task.done():
        return elapsed, f"STILL NOT FREE after {GIVE_UP_S:g} s"
    if task.cancelled():
        return elapsed, "CancelledError"
    return elapsed, f"{type(task.exception()).__name__}: {str(task.exception()).splitlines()[0]}"


async def loop_lag_during(work: Awaitable[object]) -> float:
    """The longest pause of the event loop, in milliseconds, while `work` runs: nobody else may be held up."""
    longest = 0.0
    task = asyncio.ensure_future(work)
    while not task.done():
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - began - 0.005)
    task.result()
    return longest * 1e3


async def waits_for_standby(cluster: PostgresCluster, probe: Probe) -> None:
    """A commit whose standby is stopped: abandoned, then looked at from the server."""
    dsn = cluster.dsn("standfest_owner")
    await probe.connect(dsn)
    with cluster.admin() as admin:
        cluster.standby.stop()
        try:
            log_start = cluster.primary.log.stat().st_size
            elapsed, told = await freed_after(probe.query(COMMIT), probe.abandon)
            print(f"  commit waiting for the standby: free after {elapsed:.1f} ms ({told})")
            await asyncio.sleep(1.5)
            print(f"    on the server 1.5 s later: {admin.execute(STATES).fetchall()}")
            log = cluster.primary.log_tail(log_start)
            print(f"    cancel in the server's log: {'cancel' in log.lower()}")
        finally:
            probe.finish()
            cluster.standby.start()
        wait_until(lambda: admin.execute(STATES).fetchall() == [], "the abandoned back end gone", 20)


async def cancelled_by_administrator(cluster: PostgresCluster, probe: Probe) -> None:
    """A commit whose wait an administrator cancels: does the client see the warning 01000?"""
    await probe.connect(cluster.dsn("standfest_owner"))
    with cluster.admin() as admin:
        cluster.standby.stop()
        try:
            task = asyncio.ensure_future(probe.query(COMMIT))
            await asyncio.sleep(0.3)
            admin.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'probe'")
            result = await asyncio.wait_for(asyncio.shield(task), 5)
            tag = getattr(result, "statusmessage", result)
            print(f"  wait cancelled by an administrator: the call says {tag!r}, notices {probe.notices}")
        finally:
            probe.finish()
            cluster.standby.start()


async def frozen_query(cluster: PostgresCluster, probe: Probe) -> None:
    """A query that is sent to a frozen server."""
    await probe.connect(cluster.dsn("standfest_owner"))
    cluster.primary.pause()
    try:
        elapsed, told = await freed_after(probe.query("SELECT 1"), probe.abandon)
        print(f"  query on a frozen server: free after {elapsed:.1f} ms ({told})")
    finally:
        cluster.primary.resume()
        probe.finish()


async def frozen_connect(cluster: PostgresCluster, probe: Probe) -> None:
    """A connection to a frozen server, given up by cancelling the task (nothing was sent that could be cancelled)."""
    cluster.primary.pause()
    try:
        task = asyncio.ensure_future(probe.connect(cluster.dsn("standfest_owner")))
        elapsed, told = await freed_after(task, lambda: None if task.done() else void(task.cancel()))
        print(f"  connecting to a frozen server: free after {elapsed:.1f} ms ({told})")
    finally:
        cluster.primary.resume()


async def task_cancel(cluster: PostgresCluster, probe: Probe) -> None:
    """What must not be done, for the record: the query's task is cancelled."""
    await probe.connect(cluster.dsn("standfest_owner"))
    log_start = cluster.primary.log.stat().st_size
    task = asyncio.ensure_future(probe.query("SELECT pg_sleep(3)"))
    elapsed, told = await freed_after(task, lambda: void(task.cancel()))
    await asyncio.sleep(0.3)
    log = cluster.primary.log_tail(log_start)
    print(f"  for the record, the task cancelled: free after {elapsed:.1f} ms ({told}); "
          f"server cancelled the statement: {'canceling statement' in log}")  # fmt: skip
    probe.finish()


def void(_: object) -> None:
    """Nothing is made of it."""


async def run(cluster: PostgresCluster) -> None:
    """All cases, both drivers."""
    for make in (PsycopgProbe, AsyncpgProbe):
        print(make.__name__)
        for case in (waits_for_standby, cancelled_by_administrator, frozen_query, frozen_connect, task_cancel):
            lag = await loop_lag_during(case(cluster, make()))
            print(f"    event loop's longest pause in this case, the harness's own work included: {lag:.0f} ms")


def main() -> None:
    """Start a cluster with one standby and try every case."""
    with start_cluster(standbys=1) as cluster:
        with psycopg.connect(cluster.dsn("standfest_owner"), autocommit=True) as connection:
            connection.execute("CREATE TABLE probe (a int)")
        uvloop.run(run(cluster))


if __name__ == "__main__":
    main()
