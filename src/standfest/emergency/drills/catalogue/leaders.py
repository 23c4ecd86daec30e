"""Bringing the leader of an etcd cluster to where a drill wants it.

https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/ (service Maintenance, MoveLeader)
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from standfest.clients import etcd_members
from standfest.clients.asking import UnreachableError
from standfest.clients.etcd import EtcdMember
from standfest.emergency.drills import faults
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, Stage

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
        leader = faults.leader(await stage.status(), service).node
        if leader == node:
            leader = next(each.name for each in stage.cluster.topology.nodes if each.name != node)
            await lead(stage, service, leader)
        return {f"{service}_leader": leader}

    return prepare


async def lead(stage: Stage, service: str, node: str) -> None:
    """Waits until the member on this node leads; FaultFailed where it does not."""

    async def missing() -> str:
        leader = faults.leader(await stage.status(), service).node
        if leader == node:
            return ""
        try:
            await _transfer(stage, service, leader, node)
        except UnreachableError as error:
            return str(error)
        return f"{leader} leads"

    await stage.until(f"{node} to lead {service}", missing, CONDITION_TIMEOUT_S)


async def _transfer(stage: Stage, service: str, leader: str, node: str) -> None:
    asked = member(stage, service, leader)
    ids = {each.name: each.id for each in await etcd_members.members(asked)}
    if node not in ids:
        raise FaultFailed(f"{service} has no member on {node}: its members are {', '.join(ids)}")
    url = f"https://{asked.address}/v3/maintenance/transfer-leadership"
    answer = await asked.asker.ask("POST", url, body=msgspec.json.encode({"targetID": ids[node]}), tls=asked.tls)
    if answer.status != 200:
        raise UnreachableError(f"{url} answered {answer.status}: {answer.body[:200].decode(errors='replace')}")


def member(stage: Stage, service: str, node: str) -> EtcdMember:
    """The member of an etcd cluster (`etcd`, `journal`) on a node."""
    cluster = stage.cluster
    where = cluster.topology.node(node)
    return cluster.journal(where) if service == "journal" else cluster.etcd(where)
