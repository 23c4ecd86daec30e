"""Put services that run on without a supervisor under their node's again, one by one, while orders are taken.

Databases run on: a Patroni that is started again takes over the PostgreSQL that it finds. A door's successor takes
connections beside it before it ends.
"""

import signal
from collections.abc import Sequence

from standfest.clients.supervisor import ProgramState
from standfest.cluster.commands import POSTGRES_HELPER
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held
from standfest.cluster.inventory import Kind, Service, programs_of
from standfest.cluster.observe import observe
from standfest.cluster.orphans import broken, in_order, missing_beside
from standfest.cluster.processes import all_ended, kill, programs_running, running, send
from standfest.cluster.rolling import one_by_one
from standfest.cluster.starting import start_stopped, unsupervised
from standfest.cluster.supervision import programs_in_time, start_program
from standfest.cluster.topology import Node
from standfest.cluster.waiting import Progress, until

_ENDING = {Kind.ETCD: signal.SIGKILL, Kind.PATRONI: signal.SIGKILL, Kind.DOOR: signal.SIGUSR1}
"""How a process is told to end, where not by SIGTERM. A Patroni that ends in good order stops its PostgreSQL; why etcd
is killed is said in redundancy/supervisord.py; a door takes no more connections, and serves those that it has."""

_END_S = 45.0
"""Above all that a program takes to end in good order: 30 s are a door's, whose clients may keep their connections."""


async def take_over(cluster: Cluster, nodes: Sequence[Node], timeout_s: float, progress: Progress) -> None:
    """Restart what runs on without a supervisor and is not held under its own, one service after the other.

    The supervisors run already. What dies before its turn is started by its supervisor, as nobody else would.

    NotReadyError where something that is needed beside the next service does not serve within `timeout_s`: that one and
    those after it run on as they are, and it may be repeated.
    """
    services = [
        service
        for node in nodes
        for orphans in (unsupervised(cluster, node),)
        for service in programs_of(cluster.topology, node)
        if orphans[service.program] and not is_held(cluster.node_home(node), service.program)
    ]
    if not services:
        return
    before = await observe(cluster)
    useless, taken = broken(services, before), list[Service]()

    async def missing(service: Service | None) -> str:
        if service is not None and service.kind is Kind.PATRONI and _copies(cluster, service):
            return f"{service.node} copies its database, which its Patroni has to bring to its end"
        seen = await observe(cluster)
        await start_stopped(cluster, nodes, seen)
        return missing_beside(service, useless, taken, seen)

    async def renew(service: Service) -> None:
        progress.doing(f"{service.full_name} under its supervisor")
        await _take(cluster, service, timeout_s, progress)
        progress.done(f"{service.full_name} under its supervisor")
        taken.append(service)

    await one_by_one(in_order(services, before), missing, renew, timeout_s, progress)


async def _take(cluster: Cluster, service: Service, timeout_s: float, progress: Progress) -> None:
    node = cluster.topology.node(service.node)
    old = unsupervised(cluster, node)[service.program]
    if service.kind is Kind.DOOR:
        # Both take connections at the same address meanwhile.
        await start_program(cluster, node, service.program)
        await until(
            f"{service.full_name} beside the one before", lambda: _started(cluster, service), timeout_s, progress
        )
    send(old, _ENDING.get(service.kind, signal.SIGTERM))
    send(old, signal.SIGCONT)
    if not await all_ended(old, _END_S):
        await kill(running([*old, *(child for each in running(old) for child in each.children(recursive=True))]))
    await start_program(cluster, node, service.program)


async def _started(cluster: Cluster, service: Service) -> str:
    """Why the program does not count as started yet; empty where it does."""
    told = await programs_in_time(cluster, cluster.topology.node(service.node)) or ()
    states = [each.state for each in told if each.name == service.program]
    return "" if states == [ProgramState.RUNNING] else f"supervisor says {', '.join(state.name for state in states)}"


def _copies(cluster: Cluster, service: Service) -> bool:
    home = cluster.node_home(cluster.topology.node(service.node))
    return any(own.program == POSTGRES_HELPER for own in programs_running(home))
