"""The probe that says when database writes are back."""

import asyncio
import time

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
    cluster.standby.start()
