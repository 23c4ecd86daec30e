"""The probe that says when database writes are back."""

import asyncio
import time

import psycopg
import pytest

from standfest.emergency.drills import probe
from standfest.emergency.drills.faults import FaultFailed
from tests.support.postgres import PostgresCluster


def test_sees_the_next_life_of_a_primary(disposable_postgres: PostgresCluster) -> None:
    """Writes are back when another life of a server commits durably, and not while the old one still does."""
    cluster = disposable_postgres
    conninfo = cluster.dsn("standfest_owner")
    gone = probe.primary_now(conninfo)

    async def drill() -> probe.WritesBack:
        with pytest.raises(FaultFailed, match="still takes writes"):
            await probe.writes_back(conninfo, gone, timeout_s=1.0)
        waiting = asyncio.create_task(probe.writes_back(conninfo, gone, timeout_s=30.0))
        await asyncio.to_thread(cluster.kill_primary)
        await asyncio.to_thread(cluster.primary.start)
        return await waiting

    killed_after = time.monotonic()
    back = asyncio.run(drill())
    assert back.at > killed_after
    assert back.primary.started_at > gone.started_at
    assert (back.primary.address, back.primary.timeline) == (gone.address, gone.timeline)


def test_waits_for_the_standby_as_an_order_does(disposable_postgres: PostgresCluster) -> None:
    """A primary whose commits hang for want of a standby has not got its writes back."""
    cluster = disposable_postgres
    conninfo = cluster.dsn("standfest_owner")
    gone = probe.primary_now(conninfo)
    cluster.standby.stop()
    cluster.kill_primary()
    cluster.primary.start()
    with pytest.raises(FaultFailed, match="waiting for its standby"):
        asyncio.run(probe.writes_back(conninfo, gone, timeout_s=2.0))
    with pytest.raises(FaultFailed, match="has waited for its standby for 1 s"):
        asyncio.run(probe.primary_within(conninfo, timeout_s=1.0))
    cluster.standby.start()


def test_a_commit_that_was_cut_short_names_no_primary(disposable_postgres: PostgresCluster) -> None:
    """A commit whose wait for the standby was cancelled is on one node only: it is an error, not a primary."""
    cluster = disposable_postgres
    cluster.standby.stop()
    conninfo = cluster.dsn("standfest_owner")

    async def ask() -> None:
        asked = asyncio.create_task(probe.primary_within(conninfo, timeout_s=20.0))
        await asyncio.to_thread(_cancel_the_wait, cluster)
        with pytest.raises(probe.CommitCutShort):
            await asked

    asyncio.run(ask())
    cluster.standby.start()


def _cancel_the_wait(cluster: PostgresCluster) -> None:
    cancel = (
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
        "WHERE wait_event = 'SyncRep' AND application_name = 'standfest-drill'"
    )
    deadline = time.monotonic() + 60
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as connection:
        while not connection.execute(cancel).fetchall():
            assert time.monotonic() < deadline, "no commit waits for the standby"
            time.sleep(0.05)


def test_nothing_there_is_one_short_line() -> None:
    """Where no server answers the error is one line, whatever the driver tells of every address."""
    nowhere = "host=127.0.24.98,127.0.24.99 port=1 user=x password=hidden dbname=x"
    with pytest.raises(FaultFailed, match=r"^[^\n]{1,200}$") as caught:
        asyncio.run(probe.primary_within(nowhere, timeout_s=10.0))
    assert "127.0.24.99" in str(caught.value)
