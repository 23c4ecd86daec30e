"""Keeping standbys from receiving anything, so that commits wait, and acting on those that wait."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg
from psycopg.conninfo import make_conninfo

from standfest.cluster.access import APP_ROLE
from standfest.emergency.drills import faults, probe, processes
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.processes import Process
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, Stage

RECEIVER = "SELECT pid FROM pg_stat_wal_receiver"
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event = 'SyncRep'"
"""Back ends of the order plane whose commit waits for a standby."""
CANCEL = """
SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity
WHERE usename = %s AND wait_event = 'SyncRep'
"""
TERMINATE = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename = %s AND wait_event = 'SyncRep'
"""


@contextlib.asynccontextmanager
async def standbys_deaf(stage: Stage) -> AsyncIterator[list[Process]]:
    """The processes by which standbys receive stand still until the block ends: nothing is replicated.

    Patroni and PostgreSQL are well on their nodes, so nobody takes anything over. The primary gives its connections to
    them up after ten seconds (`wal_sender_timeout`).
    """
    standbys = faults.having_role(await stage.status(), "postgres", "standby")
    receivers = [await asyncio.to_thread(_receiver, stage, target.node) for target in standbys]
    if len(receivers) < len(stage.cluster.topology.nodes) - 1:
        raise FaultFailed(f"{len(receivers)} standbys protect the primary: all of them were to be held")
    with faults.frozen_processes(receivers, stage.guard):
        yield receivers


def _receiver(stage: Stage, node: str) -> Process:
    cluster = stage.cluster
    where = make_conninfo(stage.superuser(), host=cluster.topology.node(node).address, target_session_attrs="any")
    try:
        with psycopg.connect(where) as connection:
            row = connection.execute(RECEIVER).fetchone()
    except psycopg.Error as error:
        raise FaultFailed(f"{node} does not say by which process it receives: {probe.short(error)}") from error
    if row is None or row[0] is None:
        raise FaultFailed(f"{node} receives nothing: its primary is away")
    return processes.identify(int(row[0]))


async def until_waiting(stage: Stage) -> int:
    """Waits until commits of the order plane wait for a standby; how many."""
    found = 0

    async def missing() -> str:
        nonlocal found
        found = await asyncio.to_thread(_counted, stage, COUNT)
        return "" if found else "no commit waits for a standby"

    await stage.until("commits that wait for a standby", missing, CONDITION_TIMEOUT_S)
    return found


async def end_waiting(stage: Stage, how: str) -> int:
    """Ends each commit that waits, by CANCEL or TERMINATE; how many."""
    return await asyncio.to_thread(_counted, stage, how)


def _counted(stage: Stage, query: str) -> int:
    try:
        with psycopg.connect(stage.superuser(), autocommit=True) as connection:
            row = connection.execute(query.encode(), (APP_ROLE,)).fetchone()
    except psycopg.Error as error:
        raise FaultFailed(f"the primary was to be asked which commits wait: {probe.short(error)}") from error
    return 0 if row is None else int(row[0])
