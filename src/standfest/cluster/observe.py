"""Ask every part of the cluster how it is, all at once; nothing is remembered from one time to the next."""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from standfest.clients import postgres
from standfest.clients.asking import Asker, UnreachableError
from standfest.clients.patroni import MemberState
from standfest.clients.supervisor import ProgramState, SupervisorFaultError
from standfest.cluster.endings import seen_certificates
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held, node_is_held
from standfest.cluster.inventory import Kind, Service, programs_of, services_of
from standfest.cluster.journal import count_entries
from standfest.cluster.membership import lacking
from standfest.cluster.notes import read_note
from standfest.cluster.observation import Observation, Role, SeenNode, SeenService, State, service_state
from standfest.cluster.orphans import orphaned
from standfest.cluster.processes import programs_running, working_pid
from standfest.cluster.roles import database_roles
from standfest.cluster.topology import Node

_NOT_READY = 503
"""An API process that is draining says so, and a door that has no API process to send a request to."""

T = TypeVar("T")


@dataclass
class _Heard:
    """What one node's parts answered."""

    programs: dict[str, ProgramState] | None = None
    member: MemberState | None = None
    leads: set[str] = field(default_factory=set)
    """The etcd members, of either cluster, that say that they lead."""
    alarms: dict[str, str] = field(default_factory=dict)
    """The etcd members, of either cluster, that have raised alarms, and these."""
    silent: dict[str, str] = field(default_factory=dict)
    """Service name to the reason why its answer does not count."""
    unready: dict[str, str] = field(default_factory=dict)
    """Service name to what it answered when it was asked whether it wants traffic, and said no."""
    dependencies: dict[str, dict[str, str]] = field(default_factory=dict)
    """API process to what it said of each thing that it needs."""
    findings: dict[str, dict[str, int]] = field(default_factory=dict)
    """Audit to how many orders it finds wrong by flaw, and how many other faults by kind."""


async def observe(cluster: Cluster, kinds: Collection[Kind] = tuple(Kind), *, with_orders: bool = False) -> Observation:
    """The cluster as it is now, as far as services of these kinds show; takes the slowest part's deadline at most.

    Who waits for something names what it looks at, as each question takes a little from those who are asked. Asked
    `with_orders`, it also says what waits in the journal and what the audits find wrong: a person who looks wants to
    know that, and whoever looks again and again has no need to pay for it.
    """
    nodes = cluster.topology.nodes
    asked = nodes if Kind.POSTGRES in kinds else ()
    heard, view, settings, entries = await asyncio.gather(
        asyncio.gather(*(_listen(cluster, node, kinds, with_orders=with_orders) for node in nodes)),
        _first_answer([cluster.patroni(node).cluster for node in asked]),
        _first_answer([cluster.patroni(node).configuration for node in asked]),
        count_entries(cluster, datetime.datetime.now(datetime.UTC)) if with_orders else _nothing(),
    )
    lost = {name: tuple(store.kind for store in stores) for name, stores in lacking(cluster).items()}
    roles = database_roles({node.name: answer.member for node, answer in zip(nodes, heard, strict=True)}, view)
    return Observation(
        nodes=tuple(
            _seen_node(cluster, node, kinds, answer, roles.get(node.name), lost.get(node.name, ()))
            for node, answer in zip(nodes, heard, strict=True)
        ),
        strict=settings is None or _is_strict(settings),
        paused=any(answer.member.pause for answer in heard if answer.member is not None),
        entries=entries,
        certificates=seen_certificates(cluster.secrets, cluster.topology, datetime.datetime.now(datetime.UTC)),
    )


async def _nothing() -> None:
    """In place of a question that is not asked."""


def _is_strict(settings: dict[str, object]) -> bool:
    return settings.get("synchronous_mode") == "quorum" and settings.get("synchronous_mode_strict") is True


async def _listen(cluster: Cluster, node: Node, kinds: Collection[Kind], *, with_orders: bool) -> _Heard:
    heard = _Heard()
    # A supervisor says of all the others why they do not run.
    services = [each for each in services_of(cluster.topology, node) if each.kind in (Kind.SUPERVISOR, *kinds)]
    questions = [_ask_service(cluster, node, service, heard) for service in services]
    if with_orders:
        questions += [_ask_audit(cluster.asker, service, heard) for service in services if service.kind is Kind.AUDIT]
    await asyncio.gather(*questions)
    return heard


async def _ask_service(cluster: Cluster, node: Node, service: Service, heard: _Heard) -> None:
    try:
        match service.kind:
            case Kind.SUPERVISOR:
                heard.programs = {each.name: each.state for each in await cluster.supervisor(node).programs()}
            case Kind.ETCD | Kind.JOURNAL:
                await _ask_etcd(cluster, service, heard)
            case Kind.PATRONI:
                heard.member = await cluster.patroni(node).member()
            case Kind.POSTGRES:
                await postgres.answers(node.address, cluster.topology.ports.postgres, cluster.asker.timeout_s)
            case Kind.API:
                await asyncio.gather(
                    _ask_ready(cluster.asker, service, heard), _ask_health(cluster.asker, service, heard)
                )
            case Kind.DOOR:
                await _ask_ready(cluster.asker, service, heard)
            case Kind.WORKER | Kind.AUDIT:
                await _expect_ok(cluster.asker, f"http://{service.address}/livez")
    except (UnreachableError, SupervisorFaultError, msgspec.ValidationError) as error:
        heard.silent[service.name] = str(error)


async def _ask_etcd(cluster: Cluster, service: Service, heard: _Heard) -> None:
    status = await cluster.maintenance.member_status(service.address, cluster.asker.timeout_s)
    if status.is_leader:
        heard.leads.add(service.name)
    own = [alarm.name for alarm in status.alarms if alarm.member_id == status.member_id]
    if own:
        heard.alarms[service.name] = ", ".join(own)
    if not status.healthy:
        raise UnreachableError(status.reason)


async def _expect_ok(asker: Asker, url: str) -> None:
    answer = await asker.ask("GET", url)
    if answer.status != 200:
        raise UnreachableError(f"{url} answered {answer.status}")


async def _ask_ready(asker: Asker, service: Service, heard: _Heard) -> None:
    url = f"http://{service.address}/readyz"
    answer = await asker.ask("GET", url)
    if answer.status == _NOT_READY:
        heard.unready[service.name] = f"{url} answered {answer.status}"
    elif answer.status != 200:
        raise UnreachableError(f"{url} answered {answer.status}")


async def _first_answer(questions: Sequence[Callable[[], Awaitable[T]]]) -> T | None:
    """The answer of the first one, in order, that gave one; all are asked at once."""
    answers = await asyncio.gather(*(question() for question in questions), return_exceptions=True)
    for answer in answers:
        if not isinstance(answer, BaseException):
            return answer
        if not isinstance(answer, UnreachableError | msgspec.ValidationError):
            raise answer
    return None


class _Dependency(msgspec.Struct, frozen=True):
    name: str
    state: str


class _Health(msgspec.Struct, frozen=True):
    dependencies: tuple[_Dependency, ...]


async def _ask_health(asker: Asker, service: Service, heard: _Heard) -> None:
    """An API process that does not say how its dependencies are may be well itself: that is no fault of its own."""
    health = await _told(asker, service, "/v1/health", _Health)
    if health is not None:
        heard.dependencies[service.name] = {each.name: each.state for each in health.dependencies}


class _Audited(msgspec.Struct, frozen=True):
    """Of an audit's report, orders that are not as they were acknowledged, and faults by kind."""

    missing: int
    doubled: int
    altered: int
    damaged: int
    fault_counts: dict[str, int] = {}


async def _ask_audit(asker: Asker, service: Service, heard: _Heard) -> None:
    """An audit that says nothing finds nothing; whether it runs is asked by itself."""
    audited = await _told(asker, service, "/v1/audit", _Audited)
    if audited is not None:
        flaws = {flaw: count for flaw, count in msgspec.structs.asdict(audited).items() if flaw != "fault_counts"}
        heard.findings[service.name] = {flaw: count for flaw, count in flaws.items() if count} | audited.fault_counts


async def _told(asker: Asker, service: Service, path: str, kind: type[T]) -> T | None:
    """What a process says of itself; None where it says nothing that can be read."""
    try:
        answer = await asker.ask("GET", f"http://{service.address}{path}")
        return msgspec.json.decode(answer.body, type=kind)
    except (UnreachableError, msgspec.MsgspecError):
        return None


def _seen_node(
    cluster: Cluster,
    node: Node,
    kinds: Collection[Kind],
    heard: _Heard,
    database_role: Role | None,
    lacks: tuple[Kind, ...],
) -> SeenNode:
    home = cluster.node_home(node)
    processes = programs_running(home)
    supervised, services = programs_of(cluster.topology, node), []
    for service in (each for each in services_of(cluster.topology, node) if each.kind in kinds):
        held = is_held(home, service.program)
        pid = working_pid(processes, service.kind, service.program)
        state = service_state(
            (heard.programs or {}).get(service.program),
            has_process=pid is not None,
            answers=service.name not in heard.silent,
            held=held,
            supervisor_lives=heard.programs is not None,
        )
        services.append(
            SeenService(
                name=service.name,
                kind=service.kind,
                address=service.address,
                state=state,
                pid=pid,
                role=_role(service, heard, database_role) if state is State.RUNNING else None,
                held=held,
                unsupervised=(
                    heard.programs is not None and service in supervised and bool(orphaned(processes, service.program))
                ),
                ready=state is State.RUNNING and service.name not in heard.unready,
                alarm=heard.alarms.get(service.name, ""),
                dependencies=heard.dependencies.get(service.name, {}),
                findings=heard.findings.get(service.name, {}),
                mending=str(read_note(home, service.name) or ""),
                evidence=heard.silent.get(service.name) or heard.unready.get(service.name, ""),
            )
        )
    return SeenNode(node.name, node.address, tuple(services), held=node_is_held(home), lacks=lacks)


def _role(service: Service, heard: _Heard, database_role: Role | None) -> Role | None:
    if service.kind in (Kind.ETCD, Kind.JOURNAL):
        return Role.LEADER if service.name in heard.leads else Role.FOLLOWER
    return database_role if service.kind is Kind.POSTGRES else None
