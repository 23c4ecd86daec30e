"""The two etcd clusters when members are lost for good: one that stands alone, and new ones that join it."""

import json
from pathlib import Path

from standfest.clients import etcd_members
from standfest.clients.asking import UnreachableError
from standfest.clients.etcd import EtcdMember
from standfest.cluster.bringup import Plan
from standfest.cluster.etcd_log import commit_all
from standfest.cluster.handle import Cluster
from standfest.cluster.home import write_private
from standfest.cluster.membership import Store
from standfest.cluster.starting import start_programs
from standfest.cluster.supervision import stop_program
from standfest.cluster.topology import Node
from standfest.cluster.waiting import Progress, until


async def serves(cluster: Cluster, node: Node, store: Store) -> bool:
    """Whether the node's member can commit."""
    try:
        return await store.member(cluster, node).healthy()
    except UnreachableError:
        return False


async def stand_alone(cluster: Cluster, node: Node, store: Store, plan: Plan, progress: Progress) -> int:
    """Make the node's member, which does not run, the only one of its cluster, with all that it holds.

    Returns how many entries count as committed by that; it runs afterwards.

    Raises:
        LogUnreadableError: nothing was changed.
        NotReadyError: it does not come up.
    """
    home, files = cluster.node_home(node), plan.files[node.name]
    committed = commit_all(store.data(home))
    config = store.config(home)
    # The file that supervision knows, for this one start: the next `up` would put it right if this were interrupted.
    write_private(config, json.dumps({**json.loads(files[config]), "force-new-cluster": True}))
    await start_programs(cluster, [node], (store.kind,))
    await _until_serving(cluster, node, store, plan.timeout_s, progress)
    await stop_program(cluster, node, store.kind.value)
    write_private(config, files[config])
    await start_programs(cluster, [node], (store.kind,))
    await _until_serving(cluster, node, store, plan.timeout_s, progress)
    return committed


async def join(
    cluster: Cluster, node: Node, store: Store, asked: Node, rendered: str, timeout_s: float, progress: Progress
) -> None:
    """Let a node whose member lost its data, or was half-way here before, belong to the cluster of `asked`'s member.

    `rendered` is its configuration file as it is for every other day. NotReadyError where it does not come up or catch
    up within `timeout_s` a step.
    """
    home = cluster.node_home(node)
    told = store.member(cluster, asked)
    config = store.config(home)
    url = str(json.loads(rendered)["initial-advertise-peer-urls"])
    if not store.has_data(home):
        await until(
            f"{store.what} to take {node.name}",
            lambda: _missing_place(told, node, url, config, rendered),
            timeout_s,
            progress,
        )
        store.founded(home).unlink(missing_ok=True)
    await start_programs(cluster, [node], (store.kind,))

    async def missing() -> str:
        try:
            for each in await etcd_members.members(told):
                if each.is_learner and url in each.peer_urls:
                    await etcd_members.promote(told, each)
        except UnreachableError as error:
            return str(error)
        return "" if await serves(cluster, node, store) else f"{store.member(cluster, node).address} cannot commit"

    await until(f"{store.what} on {node.name}", missing, timeout_s, progress)
    write_private(config, rendered)


async def _missing_place(told: EtcdMember, node: Node, url: str, config: Path, rendered: str) -> str:
    """Adds an empty member, in place of the one that was there, and configures it to join.

    etcd takes nobody until its members have been in touch with each other for five seconds.
    """
    try:
        for stale in await etcd_members.members(told):
            if url in stale.peer_urls:
                await etcd_members.remove(told, stale)
        belonging = await etcd_members.add_learner(told, url)
    except UnreachableError as error:
        return str(error)
    peers = ",".join(f"{each.name or node.name}={address}" for each in belonging for address in each.peer_urls)
    joining = {**json.loads(rendered), "initial-cluster": peers, "initial-cluster-state": "existing"}
    write_private(config, json.dumps(joining))
    return ""


async def _until_serving(cluster: Cluster, node: Node, store: Store, timeout_s: float, progress: Progress) -> None:
    async def missing() -> str:
        if await serves(cluster, node, store):
            return ""
        return f"it cannot commit yet; see {cluster.node_home(node).logs / store.kind.value}.log"

    await until(f"{store.what} on {node.name} alone", missing, timeout_s, progress)
