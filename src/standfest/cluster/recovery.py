"""The way back when all nodes but one are gone for good: the survivor serves alone, then new nodes join it.

Nothing that the survivor holds is lost: its database is promoted with all the WAL it received, and all entries in the
logs of its etcd members count. What is decided is looked up, not remembered, so that it can be repeated after it was
interrupted.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from standfest.clients.asking import UnreachableError
from standfest.cluster.bringup import Plan, bring_up, write_configuration
from standfest.cluster.commands import promotion_permit
from standfest.cluster.database import begin_generation
from standfest.cluster.etcd_log import read_end
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held, node_is_held, release
from standfest.cluster.home import NodeHome
from standfest.cluster.inventory import Kind, services_of
from standfest.cluster.journal_history import bring_back
from standfest.cluster.membership import STORES, has_database
from standfest.cluster.processes import processes_of
from standfest.cluster.starting import start_programs
from standfest.cluster.stores import join, serves, stand_alone
from standfest.cluster.supervision import ensure_supervisor, shut_down
from standfest.cluster.topology import Node
from standfest.cluster.waiting import Progress, until
from standfest.errors import StandfestError

_CONNECT_S = 1.0
"""A node that takes a connection within it is not lost."""

_FAILOVER_ANSWER_S = 15.0
"""Patroni answers once the failover is done, or after its own ten seconds."""

_STOP_STAGES = ((Kind.DOOR, Kind.API, Kind.WORKER, Kind.AUDIT), (Kind.PATRONI,), (Kind.ETCD, Kind.JOURNAL))


class NotLostError(StandfestError):
    """Recovery would do harm: other nodes are there, or this one has nothing to serve from."""


@dataclass
class Recovered:
    """What a recovery did."""

    alone: bool = False
    """The survivor's members had lost their clusters and were made the only ones."""
    kept: Path | None = None
    """Copy of the survivor's two etcd data directories as they were."""
    committed: dict[str, int] = field(default_factory=dict)
    """Entries by etcd cluster that the survivor holds and did not know as acknowledged: they count now."""
    brought_back: int = 0
    """Entries that the journal held a moment ago: the databases that were to have them may be lost."""
    joined: list[str] = field(default_factory=list)
    """Nodes that were empty and belong to the cluster again."""


async def needs_to_stand_alone(cluster: Cluster, survivor: Node) -> bool:
    """Whether one of the survivor's etcd members cannot commit.

    NotLostError where it cannot, and a node other than the survivor answers or has its disk.
    """
    if all(await asyncio.gather(*(serves(cluster, survivor, store) for store in STORES))):
        return False
    others = _others(cluster, survivor)
    for node in others:
        await _refuse_if_there(cluster, node)
    home = cluster.node_home(survivor)
    if not has_database(home):
        raise NotLostError(f"{home.postgres} holds no database: {survivor.name} cannot be recovered from")
    for store in STORES:
        read_end(store.data(home))
    return True


async def recover(cluster: Cluster, survivor: Node, plan: Plan, progress: Progress) -> Recovered:
    """Let the survivor serve again, join all nodes whose disks are empty and that are not held, and bring all up.

    Raises:
        NotLostError: nothing was changed.
        LogUnreadableError: nothing was changed.
        NotReadyError: something did not come up; it may be repeated.
        DatabaseSetupError: the database could not be told that its history is another one; it may be repeated.
    """
    done = Recovered(alone=await needs_to_stand_alone(cluster, survivor))
    _release(cluster.node_home(survivor))
    # Interrupted once a member ran alone, its file still says force-new-cluster: at its next start it would forget all.
    write_configuration(cluster, survivor, plan.files[survivor.name])
    if done.alone:
        progress.doing(f"stopping {survivor.name}")
        await shut_down(cluster, survivor, _stop_stages(cluster, survivor))
        done.kept = await asyncio.to_thread(_keep, cluster.node_home(survivor))
        await ensure_supervisor(cluster, survivor, plan.binaries)
        for store in STORES:
            done.committed[store.kind.value] = await stand_alone(cluster, survivor, store, plan, progress)
    if _is_last(cluster, survivor):
        member = cluster.journal(survivor)
        done.brought_back = await bring_back(cluster.asker.session, member.address, cluster.tls)
    await start_programs(cluster, [survivor], (Kind.PATRONI,))
    try:
        await until(f"the database on {survivor.name}", lambda: _promoted(cluster, survivor), plan.timeout_s, progress)
    finally:
        promotion_permit(cluster.node_home(survivor)).unlink(missing_ok=True)  # it is for this promotion alone
    if _is_last(cluster, survivor):  # also where it was interrupted here; no client can read before a standby is there
        await asyncio.to_thread(begin_generation, cluster)
    for node in _others(cluster, survivor):
        if not node_is_held(cluster.node_home(node)) and await _join(cluster, node, survivor, plan, progress):
            done.joined.append(node.name)
    await bring_up(cluster, plan, progress)
    return done


def _release(home: NodeHome) -> None:
    """What a cluster rests on is not held on the node from which it is to serve."""
    release(home)
    for kind in (Kind.ETCD, Kind.JOURNAL, Kind.PATRONI):
        release(home, kind.value)


async def _join(cluster: Cluster, node: Node, survivor: Node, plan: Plan, progress: Progress) -> bool:
    """Bring an empty node into both etcd clusters; False where it was in both, but for one held by itself."""
    home = cluster.node_home(node)
    stores = [store for store in STORES if not is_held(home, store.kind.value)]
    empty = [store for store in stores if not store.has_data(home) or not await serves(cluster, node, store)]
    if not empty:
        return False
    write_configuration(cluster, node, plan.files[node.name])
    await ensure_supervisor(cluster, node, plan.binaries)
    files = plan.files[node.name]
    await asyncio.gather(
        *(join(cluster, node, store, survivor, files[store.config(home)], plan.timeout_s, progress) for store in empty)
    )
    return True


async def _promoted(cluster: Cluster, survivor: Node) -> str:
    """Waits for a primary; asks for the survivor where no other node has a database that could vote or know more."""
    if any(await asyncio.gather(*(_is_primary(cluster, node) for node in cluster.topology.nodes))):
        return ""
    if not _is_last(cluster, survivor):
        return "no database is primary"
    patroni = cluster.patroni(survivor)
    promotion_permit(cluster.node_home(survivor)).touch(mode=0o600)
    try:
        # Patroni waits until the lease of the lost primary has ended.
        answer = await cluster.asker.ask(
            "POST",
            f"http://{patroni.address}/failover",
            body=msgspec.json.encode({"candidate": survivor.name}),
            login=("patroni", patroni.password),
            timeout_s=_FAILOVER_ANSWER_S,
        )
    except UnreachableError as error:
        return str(error)
    return f"Patroni answered {answer.status}: {answer.body[:200].decode(errors='replace')}"


async def _is_primary(cluster: Cluster, node: Node) -> bool:
    try:
        member = await cluster.patroni(node).member()
    except (UnreachableError, msgspec.ValidationError):
        return False
    return member.role == "primary" and member.state == "running"


async def _refuse_if_there(cluster: Cluster, node: Node) -> None:
    home = cluster.node_home(node)
    for service in services_of(cluster.topology, node):
        if await _connects(service.address):
            raise NotLostError(
                f"{service.full_name} answers at {service.address}: {node.name} is not lost; see: ./standfest doctor"
            )
    if processes_of(home):
        raise NotLostError(f"processes of {node.name} run on this machine; see: ./standfest status")
    disks = [store.data(home) for store in STORES if store.has_data(home)]
    disks += [home.postgres] if has_database(home) else []
    if disks:
        raise NotLostError(
            f"the disk of {node.name} is there ({disks[0]}), so it is not lost for good: start it with "
            f"./standfest node start {node.name}; where it must never be used again, remove {home.root} first"
        )


async def _connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _keep(home: NodeHome) -> Path:
    """A copy of both etcd data directories, as they are about to be changed without a way back."""
    kept = home.root / f"before-recovery-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for store in STORES:
        shutil.copytree(store.data(home), kept / store.kind.value)
    return kept


def _is_last(cluster: Cluster, survivor: Node) -> bool:
    """Whether no other node has a database."""
    return not any(has_database(cluster.node_home(node)) for node in _others(cluster, survivor))


def _stop_stages(cluster: Cluster, node: Node) -> Sequence[Sequence[str]]:
    services = services_of(cluster.topology, node)
    return [[each.program for each in services if each.kind in kinds] for kinds in _STOP_STAGES]


def _others(cluster: Cluster, survivor: Node) -> list[Node]:
    return [node for node in cluster.topology.nodes if node != survivor]
