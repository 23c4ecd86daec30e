"""Drills in which a node's copy is of no use any more, and is made anew without a person: nothing is held.

`python -m standfest.emergency.drills.catalogue.lost_copies` gives PostgreSQL back how much WAL it keeps, on the cluster
in $STANDFEST_HOME.
"""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg

from standfest.clients.asking import UnreachableError
from standfest.cluster.handle import Cluster, connected
from standfest.cluster.home import Home
from standfest.cluster.membership import STORES, Store
from standfest.cluster.topology import Node
from standfest.cluster.topology_file import read_topology
from standfest.emergency.drills import faults, probe, processes
from standfest.emergency.drills.catalogue.leaders import ANSWER_S, maintenance, member
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.stage import STATUS_POLL_S, Stage
from standfest.redundancy.postgres import dynamic_settings

BACK_TIMEOUT_S = 180.0
"""How long a copy may take to be made anew."""

LITTLE_WAL = {"wal_keep_size": "0", "max_slot_wal_keep_size": "32MB", "max_wal_size": "64MB"}
"""So that a node is away for too long within seconds."""

SWITCHES = 4
FILL = "SELECT pg_logical_emit_message(false, 'drill', repeat('x', 1000)), pg_switch_wal()"
GONE = "SELECT NOT EXISTS (SELECT FROM pg_ls_waldir() WHERE name <= %s AND name ~ '^[0-9A-F]{24}$')"


async def member_wiped(stage: Stage) -> Proof:
    """A member of the journal, and then one of Patroni's etcd, is killed and its data removed, on a node that is not
    the primary's: each takes its place again by itself."""
    before, target = await stage.primary()
    node = next(each for each in stage.cluster.topology.nodes if each.name != target.node)
    proof: dict[str, object] = {"node": node.name}
    for store in reversed(STORES):
        proof[store.kind.value] = await _wiped(stage, node, store)
    now, _ = await stage.primary()
    stage.rules["the same primary"] = now == before
    return proof


async def _wiped(stage: Stage, node: Node, store: Store) -> dict[str, int]:
    cluster, name = stage.cluster, store.kind.value
    data = store.data(cluster.node_home(node))
    before = await _member_id(cluster, node, name)
    target = await stage.target(node.name, name)
    if stage.began_at is None:
        stage.begin("SIGKILL of a member of each etcd whose data is removed", node=node.name)
    # It stands still while its data goes, and nothing starts it before all of it is gone.
    processes.send(target.process, signal.SIGSTOP)
    try:
        await asyncio.to_thread(shutil.rmtree, data)
    finally:
        faults.kill(target)

    async def missing() -> str:
        now = await _member_id(cluster, node, name)
        if not now:
            return f"{node.name}/{name} cannot commit"
        return "" if store.has_data(cluster.node_home(node)) and now != before else f"{node.name}/{name} is the old one"

    await stage.until(f"{node.name}/{name} to be a member again", missing, BACK_TIMEOUT_S, every_s=STATUS_POLL_S)
    return {"member_before": before, "member_after": await _member_id(cluster, node, name)}


async def _member_id(cluster: Cluster, node: Node, service: str) -> int:
    """Who the node's member is; 0 where it cannot commit. A member that takes a place again is another one."""
    status = await maintenance(cluster, service).member_status(member(cluster, service, node.name).address, ANSWER_S)
    return status.member_id if status.healthy else 0


async def standby_too_far_behind(stage: Stage) -> Proof:
    """A standby is away for longer than its primary keeps WAL, and is cloned from the other one by itself."""
    _, primary = await stage.primary()
    node = next(each for each in stage.cluster.topology.nodes if each.name != primary.node)
    data = stage.cluster.node_home(node).postgres
    made_before = _made_at(data)
    async with _little_wal(stage):
        async with stage.held_node(node.name, lambda: stage.begin("a standby away for too long", node=node.name)):
            segment = await asyncio.to_thread(_newest_segment, data / "pg_wal")
            await stage.until(
                f"the primary to have removed {segment}", lambda: _removed(stage, segment), BACK_TIMEOUT_S
            )

        async def missing() -> str:
            standbys = [each.node for each in faults.having_role(await stage.status(), "postgres", "standby")]
            if _made_at(data) == made_before:
                return f"{node.name} still has its old data"
            return "" if node.name in standbys else f"{node.name} is no standby yet"

        await stage.until(f"{node.name} to be cloned", missing, BACK_TIMEOUT_S, every_s=STATUS_POLL_S)
    return {"node": node.name, "segment": segment, "primary": primary.node}


def _made_at(data: Path) -> int:
    """When a data directory was made; 0 where there is none."""
    try:
        return (data / "PG_VERSION").stat().st_mtime_ns
    except OSError:
        return 0


def _newest_segment(wal: Path) -> str:
    return max(file.name for file in wal.iterdir() if len(file.name) == 24)


async def _removed(stage: Stage, segment: str) -> str:
    """Writes WAL; why the primary still has the segment, as a reason."""
    return "" if await asyncio.to_thread(_fill, stage.superuser(), segment) else f"{segment} is still there"


def _fill(conninfo: str, segment: str) -> bool:
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for _ in range(SWITCHES):
                connection.execute(FILL)
            connection.execute("CHECKPOINT")
            row = connection.execute(GONE, (segment,)).fetchone()
    except psycopg.Error as error:
        raise FaultFailed(f"the primary was to write WAL: {probe.short(error)}") from error
    return row is not None and bool(row[0])


@contextlib.asynccontextmanager
async def _little_wal(stage: Stage) -> AsyncIterator[None]:
    announced = stage.guard.announce(stage.undoing("standfest.emergency.drills.catalogue.lost_copies"))
    try:
        await _configure(stage.cluster, {"postgresql": {"parameters": LITTLE_WAL}})
        yield
    finally:
        await undo(stage.cluster)
        stage.guard.drop(announced)


async def undo(cluster: Cluster) -> None:
    """Gives the databases back what they share."""
    await _configure(cluster, dynamic_settings(cluster.topology))


async def _configure(cluster: Cluster, settings: dict[str, object]) -> None:
    nodes = cluster.topology.nodes
    for node in nodes:
        try:
            await cluster.patroni(node).configure(settings)
            return
        except UnreachableError:
            if node is nodes[-1]:
                raise


DRILLS = (
    Drill(
        (30,),
        "member-wiped",
        "A member of the journal, then one of Patroni's etcd, is killed and its data removed.",
        member_wiped,
    ),
    Drill(
        (30,),
        "standby-too-far-behind",
        "A standby is away for longer than its primary keeps WAL.",
        standby_too_far_behind,
    ),
)


async def _main() -> None:
    home = Home.default()
    async with connected(home, read_topology(home.topology)) as cluster:
        await undo(cluster)


if __name__ == "__main__":
    asyncio.run(_main())
