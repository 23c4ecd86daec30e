"""Bring the cluster up: part after part, each waited for, until an order would be accepted.

What is done on all nodes at once takes nothing away. What runs on without a supervisor is left alone until all that
does not run has been started, and is then taken over one by one. What dies meanwhile is started like all else.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from standfest.clients.asking import UnreachableError
from standfest.cluster.access import DatabaseAccess, owner_access
from standfest.cluster.binaries import Binaries
from standfest.cluster.database import set_up_database
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held, node_is_held
from standfest.cluster.home import write_private
from standfest.cluster.inventory import Kind
from standfest.cluster.membership import allow_new, startable
from standfest.cluster.observation import DEPENDENCIES, Observation, Role, SeenService, State
from standfest.cluster.observe import observe
from standfest.cluster.starting import start_programs, start_stopped
from standfest.cluster.supervision import ensure_supervisor
from standfest.cluster.takeover import take_over
from standfest.cluster.topology import Node
from standfest.cluster.waiting import NotReadyError, Progress, until
from standfest.errors import StandfestError

_REST_S = 30.0
"""Once orders would be accepted, `up` waits so long for the rest, and then says what is missing."""

PrepareDatabase = Callable[[DatabaseAccess], None]
"""Brings the order plane's schema up to date; blocking, with its own deadlines."""


class TooMuchHeldError(StandfestError):
    """So much is held on purpose that no order can be accepted."""


@dataclass(frozen=True)
class Plan:
    """What `up` needs beyond the running cluster."""

    files: Mapping[str, Mapping[Path, str]]
    """Rendered configuration files by node."""
    dynamic_settings: Mapping[str, object]
    """What all Patronis share."""
    binaries: Binaries
    prepare_database: PrepareDatabase
    timeout_s: float = 120.0
    """How long any one step may take."""


async def bring_up(cluster: Cluster, plan: Plan, progress: Progress) -> None:
    """Start all that is not held, but no node that is empty beside others. A step whose end is reached does nothing.

    Orders that are taken are taken all the time.

    Raises:
        TooMuchHeldError: nothing was changed.
        EmptyNodeError: nothing was changed; what holds members has no quorum without empty nodes.
        NotReadyError: something did not come up; it may be repeated.
    """
    nodes = [node for node in cluster.topology.nodes if not node_is_held(cluster.node_home(node))]
    _refuse_too_much_held(cluster, nodes)
    nodes = startable(cluster, nodes)
    allow_new(cluster)
    for node in nodes:
        write_configuration(cluster, node, plan.files[node.name])
    progress.doing("supervision on every node")
    await asyncio.gather(*(ensure_supervisor(cluster, node, plan.binaries) for node in nodes))
    progress.done("supervision on every node")
    await start_programs(cluster, nodes, (Kind.ETCD, Kind.JOURNAL))
    await _until_seen(cluster, nodes, plan, progress, "etcd's quorum", _missing_etcd, Kind.ETCD)
    await start_programs(cluster, nodes, (Kind.PATRONI,))
    protected = "a primary database and a standby that it waits for"
    await _until_seen(cluster, nodes, plan, progress, protected, _missing_database, Kind.PATRONI, Kind.POSTGRES)
    await _share_settings(cluster, nodes, plan.dynamic_settings)
    progress.doing("database, roles and schema")
    await asyncio.to_thread(set_up_database, cluster)
    await asyncio.to_thread(plan.prepare_database, owner_access(cluster.topology, cluster.secrets))
    progress.done("database, roles and schema")
    with contextlib.suppress(NotReadyError):  # orders are taken without it, and the verdict says that it is missing
        journal = _look(cluster, nodes, _missing_journal, Kind.JOURNAL)
        await until("the journal's quorum", journal, min(_REST_S, plan.timeout_s), progress)
    await start_programs(cluster, nodes, (Kind.API, Kind.WORKER, Kind.AUDIT, Kind.DOOR))
    await _until_seen(
        cluster, nodes, plan, progress, "doors that would accept an order", _missing_order_plane, Kind.API, Kind.DOOR
    )
    await take_over(cluster, nodes, plan.timeout_s, progress)
    await start_programs(cluster, nodes, tuple(Kind))  # what ran at first and died before it had a supervisor
    with contextlib.suppress(NotReadyError):  # orders are taken: what is missing is for the verdict to say
        rest = _look(cluster, nodes, _missing_services, *Kind)
        await until("every service that is not held", rest, min(_REST_S, plan.timeout_s), progress)


def write_configuration(cluster: Cluster, node: Node, files: Mapping[Path, str]) -> None:
    """Write the node's rendered configuration; its files may hold passwords."""
    cluster.node_home(node).create()
    for path, content in files.items():
        write_private(path, content)
        if content.startswith("#!"):
            path.chmod(0o700)


def _refuse_too_much_held(cluster: Cluster, nodes: Sequence[Node]) -> None:
    for kind, why in ((Kind.ETCD, "etcd has no quorum"), (Kind.PATRONI, "no order can commit")):
        able = [node for node in nodes if not is_held(cluster.node_home(node), kind.value)]
        if len(able) < len(cluster.topology.nodes) // 2 + 1:
            held = sorted({node.name for node in cluster.topology.nodes} - {node.name for node in able})
            raise TooMuchHeldError(
                f"{kind.value} is held on {', '.join(held)}: {why} without it; "
                "release it with `./standfest node start NAME` or `./standfest service start NODE/NAME`"
            )


async def _until_seen(
    cluster: Cluster,
    nodes: Sequence[Node],
    plan: Plan,
    progress: Progress,
    what: str,
    missing: Callable[[Observation], str],
    *kinds: Kind,
) -> None:
    await until(what, _look(cluster, nodes, missing, *kinds), plan.timeout_s, progress)


def _look(
    cluster: Cluster, nodes: Sequence[Node], missing: Callable[[Observation], str], *kinds: Kind
) -> Callable[[], Awaitable[str]]:
    """What is missing among services of these kinds, which all were started: what has died since is started again."""

    async def look() -> str:
        seen = await observe(cluster, kinds)
        await start_stopped(cluster, nodes, seen)
        return missing(seen)

    return look


def _expected(seen: Observation, *kinds: Kind) -> list[tuple[str, SeenService]]:
    """A node that is empty beside others waits for its place, and nobody for it."""
    return [
        (f"{node.name}/{service.name}", service)
        for node in seen.nodes
        for service in node.services
        if service.kind in kinds and not service.held and not node.lacks
    ]


def _not_running(found: Sequence[tuple[str, SeenService]]) -> str:
    return "; ".join(
        f"{name} is {service.state}{': ' if service.evidence else ''}{service.evidence}"
        for name, service in found
        if service.state is not State.RUNNING
    )


def _missing_etcd(seen: Observation) -> str:
    return _missing_quorum(seen, Kind.ETCD)


def _missing_journal(seen: Observation) -> str:
    return _missing_quorum(seen, Kind.JOURNAL) if _journal_is_expected(seen) else ""


def _journal_is_expected(seen: Observation) -> bool:
    """Nobody waits for it where so much of it is held that it cannot have a quorum."""
    return len(_expected(seen, Kind.JOURNAL)) > len(seen.nodes) // 2


def _missing_quorum(seen: Observation, kind: Kind) -> str:
    members = _expected(seen, kind)
    running = [service for _, service in members if service.state is State.RUNNING]
    return "" if len(running) > len(seen.nodes) // 2 else _not_running(members)


def _missing_database(seen: Observation) -> str:
    servers = _expected(seen, Kind.POSTGRES)
    roles = [service.role for _, service in servers]
    if Role.PRIMARY not in roles:
        return f"no PostgreSQL is primary yet; {_not_running(servers) or 'all of them run'}"
    if Role.STANDBY not in roles:
        return (
            f"no standby is streaming and named in the primary's quorum; {_not_running(servers) or 'all of them run'}"
        )
    return ""


def _missing_order_plane(seen: Observation) -> str:
    apis, doors = _expected(seen, Kind.API), _expected(seen, Kind.DOOR)
    if not apis:
        return ""
    if not any(service.ready for _, service in apis):
        return f"no API process wants requests: {_unready(apis)}"
    if not any(service.ready and service.dependencies.get("database") == "ok" for _, service in apis):
        said = ", ".join(f"{name}: '{service.dependencies.get('database', 'no answer')}'" for name, service in apis)
        return f"no API process says that its database is well ({said})"
    return "" if any(service.ready for _, service in doors) else f"no door takes requests: {_unready(doors)}"


def _unready(found: Sequence[tuple[str, SeenService]]) -> str:
    return "; ".join(f"{name} is {service.state} ({service.evidence})" for name, service in found if not service.ready)


def _missing_services(seen: Observation) -> str:
    waived = set() if _journal_is_expected(seen) else {Kind.JOURNAL.value}
    everything = _expected(seen, *(kind for kind in Kind if kind.value not in waived))
    lagging = [name for name, service in everything if service.role is Role.REPLICA]
    apart = [
        f"{name} does not say that its {dependency} is well"
        for name, service in everything
        for dependency in DEPENDENCIES
        if service.kind is Kind.API and dependency not in waived and service.dependencies.get(dependency) != "ok"
    ]
    # A topology without API processes is a database cluster: its doors have nothing behind them.
    serving = any(service.kind is Kind.API for _, service in everything)
    unready = [(name, service) for name, service in everything if serving and not service.ready]
    return (
        _not_running(everything)
        or "; ".join(f"no commit waits for {name} yet" for name in lagging)
        or _unready(unready)
        or "; ".join(apart)
        or ("automatic failover is still switched off" if seen.paused else "")
    )


async def _share_settings(cluster: Cluster, nodes: Sequence[Node], wanted: Mapping[str, object]) -> None:
    """Bring Patroni's shared configuration up to date; it is only written where it differs."""
    for node in nodes:
        patroni = cluster.patroni(node)
        try:
            current = await patroni.configuration()
            # A pause is switched off by its absence: nobody would take over, and no command of ours sets it.
            changes = {} if _contains(current, wanted) else dict(wanted)
            if current.get("pause"):
                changes["pause"] = None
            if changes:
                await patroni.configure(changes)
            return
        except (UnreachableError, msgspec.ValidationError):
            if node is nodes[-1]:
                raise


def _contains(current: object, wanted: object) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(current, Mapping) and all(_contains(current.get(key), wanted[key]) for key in wanted)
    return current == wanted
