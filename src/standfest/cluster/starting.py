"""Start what should run and does not: by kind in the order of a start, and what died while it was waited for."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import psutil

from standfest.clients.asking import UnreachableError
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held
from standfest.cluster.inventory import Kind, Service, find_service, programs_of
from standfest.cluster.observation import Observation
from standfest.cluster.orphans import left_stopped, orphaned
from standfest.cluster.processes import programs_running
from standfest.cluster.supervision import start_program
from standfest.cluster.topology import Node


async def start_programs(cluster: Cluster, nodes: Sequence[Node], kinds: Sequence[Kind]) -> None:
    """Start the programs of these kinds that are not held; those that run, supervised or not, are left alone."""
    await asyncio.gather(
        *(
            start_program(cluster, node, service.program)
            for node in nodes
            for orphans in (unsupervised(cluster, node),)
            for service in programs_of(cluster.topology, node)
            if service.kind in kinds
            and not is_held(cluster.node_home(node), service.program)
            and not orphans[service.program]
        )
    )


async def start_stopped(cluster: Cluster, nodes: Sequence[Node], seen: Observation) -> None:
    """Start what was seen on these nodes to be started by nobody: it died after its supervisor, and before another one
    looked after it."""

    async def start(service: Service) -> None:
        with contextlib.suppress(UnreachableError):  # its supervisor has died since: the next look shows that
            await start_program(cluster, cluster.topology.node(service.node), service.program)

    names = {node.name for node in nodes}
    services = [find_service(cluster.topology, full_name) for full_name in left_stopped(seen)]
    await asyncio.gather(*(start(service) for service in services if service.node in names))


def unsupervised(cluster: Cluster, node: Node) -> Mapping[str, Sequence[psutil.Process]]:
    """By program of the node, its processes that no supervisor looks after."""
    found = programs_running(cluster.node_home(node))
    return {each.program: orphaned(found, each.program) for each in programs_of(cluster.topology, node)}
