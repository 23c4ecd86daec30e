"""Take the cluster down, leaving no process; hold and release nodes and services on purpose."""

import asyncio
import signal
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path

from standfest.cluster.binaries import Binaries
from standfest.cluster.bringup import write_configuration
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import hold, node_is_held, release
from standfest.cluster.inventory import Kind, Service, programs_of
from standfest.cluster.membership import STORES, EmptyNodeError, refuse_empty
from standfest.cluster.observation import Observation, Role, SeenService, State
from standfest.cluster.observe import observe
from standfest.cluster.processes import everything_of, send, stopped
from standfest.cluster.starting import start_programs
from standfest.cluster.supervision import (
    crash_node,
    crash_program,
    ensure_supervisor,
    programs,
    programs_in_time,
    shut_down,
    start_program,
    stop_program,
    tell_to_stop,
)
from standfest.cluster.takeover import take_over
from standfest.cluster.topology import Node
from standfest.cluster.waiting import Progress, until
from standfest.errors import StandfestError

_FRONT = (Kind.DOOR, Kind.API, Kind.WORKER, Kind.AUDIT)
_ETCDS = (Kind.ETCD.value, Kind.JOURNAL.value)


class HeldError(StandfestError):
    """What should start is held, or has no supervisor to start it."""


class UnsupportedServiceError(StandfestError):
    """This service cannot be stopped or started by itself."""

    exit_code = 2


async def take_down(cluster: Cluster, progress: Progress) -> None:
    """Stop everything in good order: doors first, then the databases, both etcds last.

    What does not stop in good order is ended with its node's supervisor. ProcessesLeftError where even that fails, once
    all else has ended.
    """
    nodes = cluster.topology.nodes
    for node in nodes:  # what stands still would not hear that it shall end
        send(stopped(everything_of(cluster.node_home(node))), signal.SIGCONT)
    seen = await observe(cluster, (Kind.PATRONI, Kind.POSTGRES))
    primaries = {node.name for node in seen.nodes for service in node.services if service.role is Role.PRIMARY}
    await _stop_kinds(cluster, _FRONT, nodes, progress, "doors, API processes, workers and audits")
    # A standby's Patroni that was told to stop takes over no more, and takes seconds to go: the primary goes meanwhile,
    # and its last WAL still reaches them.
    standbys = [node for node in nodes if node.name not in primaries]
    await _to_the_end(tell_to_stop(cluster, node, Kind.PATRONI.value) for node in standbys)
    await _stop_kinds(cluster, (Kind.PATRONI,), nodes, progress, "the databases")
    progress.doing("stopping etcd and supervision")
    # Nobody uses them any more, and what they acknowledged is on the disks; asked, a leader would look for seconds for
    # another one to lead members that are stopping as well.
    await _to_the_end(crash_program(cluster, node, program) for node in nodes for program in _ETCDS)
    for error in await _to_the_end(shut_down(cluster, node, []) for node in nodes):
        raise error
    progress.done("stopping etcd and supervision")


async def _stop_kinds(
    cluster: Cluster, kinds: tuple[Kind, ...], nodes: tuple[Node, ...], progress: Progress, what: str
) -> None:
    progress.doing(f"stopping {what}")
    await _to_the_end(
        stop_program(cluster, node, service.program)
        for node in nodes
        for service in programs_of(cluster.topology, node)
        if service.kind in kinds
    )
    progress.done(f"stopping {what}")


async def _to_the_end(acts: Iterable[Awaitable[None]]) -> list[StandfestError]:
    """Carry all of them out, whatever becomes of the others; what went wrong."""
    ended = await asyncio.gather(*acts, return_exceptions=True)
    for each in ended:
        if isinstance(each, BaseException) and not isinstance(each, StandfestError):
            raise each
    return [each for each in ended if isinstance(each, StandfestError)]


async def hold_node(cluster: Cluster, node: Node, *, crash: bool, progress: Progress) -> None:
    """Hold a node down: everything on it stops, in good order or as if its power failed."""
    hold(cluster.node_home(node))
    progress.doing(f"stopping {node.name}")
    if crash:
        await crash_node(cluster, node)
    else:
        front = [service.program for service in programs_of(cluster.topology, node) if service.kind in _FRONT]
        await shut_down(cluster, node, [front, [Kind.PATRONI.value], _ETCDS])
    progress.done(f"stopping {node.name}")


async def release_node(
    cluster: Cluster,
    node: Node,
    files: Mapping[Path, str],
    binaries: Binaries,
    timeout_s: float,
    progress: Progress,
) -> None:
    """Start a node again and wait until what is not held by itself on it runs.

    EmptyNodeError where it lacks a member that others hold: held no more, it waits for its place. Where it has the
    other one, all else is started all the same: without that others may have no quorum, and its mender gives it the
    rest.
    """
    home = cluster.node_home(node)
    release(home)
    try:
        refuse_empty(cluster, node)
    except EmptyNodeError:
        lost = [store.kind for store in STORES if not store.has_data(home)]
        if len(lost) < len(STORES):
            await _start(cluster, node, files, binaries, [kind for kind in Kind if kind not in lost])
        raise
    await _start(cluster, node, files, binaries, tuple(Kind))
    await take_over(cluster, [node], timeout_s, progress)
    await start_programs(cluster, [node], tuple(Kind))  # what ran at first and died before it had a supervisor

    async def missing() -> str:
        seen = next(each for each in (await observe(cluster)).nodes if each.name == node.name)
        return "; ".join(
            f"{node.name}/{service.name} is {service.state}"
            for service in seen.services
            if not service.held and service.state is not State.RUNNING
        )

    await until(f"the services of {node.name}", missing, timeout_s, progress)


async def _start(
    cluster: Cluster, node: Node, files: Mapping[Path, str], binaries: Binaries, kinds: Sequence[Kind]
) -> None:
    write_configuration(cluster, node, files)
    await ensure_supervisor(cluster, node, binaries)
    await start_programs(cluster, [node], kinds)


async def hold_service(cluster: Cluster, service: Service, *, crash: bool, progress: Progress) -> None:
    """Hold a service down until it is started again; PostgreSQL and its Patroni only go together."""
    refuse_supervisor(service)
    node = cluster.topology.node(service.node)
    await programs_in_time(cluster, node)  # alive and silent it would start again what others stop
    hold(cluster.node_home(node), service.program)
    progress.doing(f"stopping {service.full_name}")
    if crash:
        await crash_program(cluster, node, service.program)
    else:
        await stop_program(cluster, node, service.program)
    progress.done(f"stopping {service.full_name}")


async def release_service(cluster: Cluster, service: Service, timeout_s: float, progress: Progress) -> None:
    """Start a service again, held or not, and wait until it runs: a member of etcd as far as it can by itself.

    EmptyNodeError where it is a member of etcd that is empty beside others: held no more, it waits for its place.
    """
    refuse_supervisor(service)
    node = cluster.topology.node(service.node)
    home = cluster.node_home(node)
    if node_is_held(home):
        raise HeldError(f"{node.name} is held as a whole; start it with: ./standfest node start {node.name}")
    if await programs(cluster, node) is None:
        raise HeldError(f"the supervisor of {node.name} does not answer; heal it with: ./standfest up")
    release(home, service.program)
    refuse_empty(cluster, node, (service.kind,))
    await start_program(cluster, node, service.program)
    await until_running(cluster, service, timeout_s, progress)


async def until_running(cluster: Cluster, service: Service, timeout_s: float, progress: Progress) -> SeenService:
    """Wait until a service runs, and an API process wants requests: the service as it is then.

    A member of an etcd of which too much is held cannot commit: its process is all that is waited for.
    """
    seen: Observation | None = None

    async def missing() -> str:
        nonlocal seen
        seen = await observe(cluster, (service.kind,))
        found = seen_service(service, seen)
        alone = found.state is State.UNRESPONSIVE and _quorum_is_held(service.kind, seen)
        if (found.state is State.RUNNING and (found.ready or service.kind is not Kind.API)) or alone:
            return ""
        return f"it is {found.state}{': ' + found.evidence if found.evidence else ''}"

    await until(service.full_name, missing, timeout_s, progress)
    return seen_service(service, seen or await observe(cluster))


def seen_service(service: Service, seen: Observation) -> SeenService:
    """The service as it was seen."""
    node = next(node for node in seen.nodes if node.name == service.node)
    return next(each for each in node.services if each.name == service.name)


def _quorum_is_held(kind: Kind, seen: Observation) -> bool:
    """Whether so many members of an etcd are held that none of the others can commit."""
    if kind.value not in _ETCDS:
        return False
    able = [service for node in seen.nodes for service in node.of_kind(kind) if not service.held]
    return len(able) < len(seen.nodes) // 2 + 1


def refuse_supervisor(service: Service) -> None:
    """UnsupportedServiceError where the service is the node's supervisor."""
    if service.kind is Kind.SUPERVISOR:
        raise UnsupportedServiceError(
            f"{service.full_name} keeps the node's services up and stops only with them: "
            f"./standfest node stop {service.node}"
        )
