"""The members of an etcd cluster, and bringing its leader to where a drill wants it."""

from collections.abc import Awaitable, Callable
from typing import Any

from standfest.clients.etcd import EtcdMember
from standfest.clients.etcd_errors import EtcdError
from standfest.clients.etcd_maintenance import EtcdMaintenance
from standfest.cluster.handle import Cluster
from standfest.emergency.drills import faults
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, STATUS_POLL_S, Stage

ANSWER_S = 3.0
"""How long a member may take to answer."""

Prepare = Callable[[Stage, str], Awaitable[dict[str, Any]]]
"""Brings a leader to where the drill wants it, given a node's name; says where it is."""


def lead_here(service: str) -> Prepare:
    """The leader of this etcd cluster (`etcd`, `journal`) goes to the node."""

    async def prepare(stage: Stage, node: str) -> dict[str, Any]:
        await lead(stage, service, node)
        return {f"{service}_leader": node}

    return prepare


def lead_elsewhere(service: str) -> Prepare:
    """The leader of this etcd cluster goes to another node, if it is on this one."""

    async def prepare(stage: Stage, node: str) -> dict[str, Any]:
        leader = await _leader(stage, service)
        if leader == node:
            leader = next(each.name for each in stage.cluster.topology.nodes if each.name != node)
            await lead(stage, service, leader)
        return {f"{service}_leader": leader}

    return prepare


async def lead(stage: Stage, service: str, node: str) -> None:
    """Waits until the member on this node leads; FaultFailed where it does not."""

    async def missing() -> str:
        leaders = await _leaders(stage, service)
        if leaders == [node]:
            return ""
        try:
            await _transfer(stage, service, node)
        except EtcdError as error:
            return str(error)
        return f"{' and '.join(leaders) or 'nobody'} leads"

    await stage.until(f"{node} to lead {service}", missing, CONDITION_TIMEOUT_S, every_s=STATUS_POLL_S)


async def _leader(stage: Stage, service: str) -> str:
    """The node whose member leads; while leadership is handed on, there may be none for a moment."""
    leaders: list[str] = []

    async def missing() -> str:
        nonlocal leaders
        leaders = await _leaders(stage, service)
        return "" if len(leaders) == 1 else f"{' and '.join(leaders) or 'nobody'} leads"

    await stage.until(f"one member to lead {service}", missing, CONDITION_TIMEOUT_S, every_s=STATUS_POLL_S)
    return leaders[0]


async def _leaders(stage: Stage, service: str) -> list[str]:
    return [each.node for each in faults.having_role(await stage.status(), service, "leader")]


async def _transfer(stage: Stage, service: str, node: str) -> None:
    members = maintenance(stage.cluster, service)
    found = await members.statuses(ANSWER_S)
    wanted = next(each for each in found if each.host == stage.cluster.topology.node(node).address)
    leader = next((each for each in found if each.is_leader), None)
    if leader is not None and leader != wanted:
        await members.move_leader(leader.address, wanted.member_id, ANSWER_S)


def member(cluster: Cluster, service: str, node: str) -> EtcdMember:
    """The member of an etcd cluster (`etcd`, `journal`) on a node."""
    where = cluster.topology.node(node)
    return cluster.journal(where) if service == "journal" else cluster.etcd(where)


def maintenance(cluster: Cluster, service: str) -> EtcdMaintenance:
    """All members of an etcd cluster (`etcd`, `journal`)."""
    addresses = [member(cluster, service, node.name).address for node in cluster.topology.nodes]
    return EtcdMaintenance(cluster.asker.session, addresses, cluster.tls)
