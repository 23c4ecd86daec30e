"""The drill in which the journal is full: each member gets a quota that its file has reached already.

`python -m standfest.emergency.drills.catalogue.journal_full` undoes it on the cluster in $STANDFEST_HOME.
"""

import asyncio
import json
from pathlib import Path

from standfest.clients.etcd_errors import EtcdError, EtcdFull
from standfest.clients.etcd_kv import Put, Txn
from standfest.clients.etcd_maintenance import NO_SPACE, MemberStatus
from standfest.cluster.handle import Cluster, connected
from standfest.cluster.home import Home, NodeHome, write_private
from standfest.cluster.inventory import Kind
from standfest.cluster.supervision import start_program, stop_program
from standfest.cluster.topology import Node
from standfest.cluster.topology_file import read_topology
from standfest.cluster.waiting import Silent, until
from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.catalogue.leaders import ANSWER_S, maintenance
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, RELEASE_TIMEOUT_S, Stage

QUOTA_BYTES = 4096
"""Less than the file of a journal in which nothing is."""
EXCERPT_MAX = 5
PROBE = b"drill/full"
"""Nobody's key: it is only there where the journal was not full."""


async def journal_full(stage: Stage) -> Proof:
    """Each member is started again with a tiny quota: the next order for the journal raises the alarm."""
    before, _ = await stage.primary()
    cluster = stage.cluster
    announced = stage.guard.announce(stage.undoing("standfest.emergency.drills.catalogue.journal_full"))
    try:
        stage.begin("a tiny quota for the journal", quota_bytes=QUOTA_BYTES)
        for node in cluster.topology.nodes:
            home = cluster.node_home(node)
            config = _config(home)
            settings = config.read_text(encoding="utf-8")
            write_private(_kept(home), settings)
            write_private(config, json.dumps(json.loads(settings) | {"quota-backend-bytes": QUOTA_BYTES}))
            await _restart(cluster, node)
        # Nobody has to fill it. Its upkeep takes the alarm back, and the next write raises it again.
        await stage.until("the journal to be full", lambda: _takes_more(cluster), CONDITION_TIMEOUT_S)
        await stage.until("the journal to say that it is full", lambda: _unalarmed(cluster), CONDITION_TIMEOUT_S)
        span = Span(stage)
        await stage.hold(lambda: _takes_more(cluster))
        span.end()
        stage.rules["orders went on straight to the database"] = span.placed()[201] > 0
        verdict = (await stage.status())["verdict"]
        stage.rules["can_lose_a_node turns false"] = not verdict["can_lose_a_node"]
        stage.also["reasons while it was full"] = list(verdict["reasons"])[:EXCERPT_MAX]
        now, _ = await stage.primary()
        stage.rules["the same primary"] = now == before
    finally:
        await undo(cluster)
        stage.guard.drop(announced)
    return {"quota_bytes": QUOTA_BYTES, "alarm": NO_SPACE, "held_s": stage.hold_s}


async def undo(cluster: Cluster) -> None:
    """Gives each member its own quota back, and takes the alarm back."""
    for node in cluster.topology.nodes:
        home = cluster.node_home(node)
        kept = _kept(home)
        if kept.exists():
            write_private(_config(home), kept.read_text(encoding="utf-8"))
            await _restart(cluster, node)
            kept.unlink()
    members = maintenance(cluster, Kind.JOURNAL)
    for status in await members.statuses(ANSWER_S):
        for alarm in status.alarms:
            await members.disarm(status.address, alarm, ANSWER_S)


async def _restart(cluster: Cluster, node: Node) -> None:
    """A restart that does not wait for a member to call itself healthy: with an alarm it does not."""
    await stop_program(cluster, node, Kind.JOURNAL.value)
    await start_program(cluster, node, Kind.JOURNAL.value)
    members = maintenance(cluster, Kind.JOURNAL)

    async def missing() -> str:
        return (await members.member_status(cluster.journal(node).address, ANSWER_S)).reason

    await until(f"{node.name}/journal", missing, RELEASE_TIMEOUT_S, Silent())


async def _takes_more(cluster: Cluster) -> str:
    """Why the journal does not count as full: it takes a write; empty where it refuses one for want of space."""
    try:
        await cluster.journal_store().txn(Txn((), (Put(PROBE, b""),)), ANSWER_S)
    except EtcdFull:
        return ""
    except EtcdError as error:
        return str(error)
    return "it takes writes"


async def _unalarmed(cluster: Cluster) -> str:
    """Why the journal does not count as full; empty where it does."""
    statuses: tuple[MemberStatus, ...] = await maintenance(cluster, Kind.JOURNAL).statuses(ANSWER_S)
    full = any(alarm.name == NO_SPACE for status in statuses for alarm in status.alarms)
    return "" if full else "no member has raised its alarm"


def _config(home: NodeHome) -> Path:
    return home.config / "journal.json"


def _kept(home: NodeHome) -> Path:
    """The configuration that is put back, as long as the drill lasts."""
    return home.config / "journal.json.before-drill"


DRILLS = (
    Drill(
        (29,),
        "journal-full",
        "The journal's members get a quota that they have reached already.",
        journal_full,
        hold_s=8,
    ),
)


async def _main() -> None:
    home = Home.default()
    async with connected(home, read_topology(home.topology)) as cluster:
        await undo(cluster)


if __name__ == "__main__":
    asyncio.run(_main())
