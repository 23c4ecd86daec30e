"""Are we up, and can we lose a node now? Decided purely from what was seen, and every "no" with its reasons."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from standfest.cluster.inventory import Kind
from standfest.cluster.observation import Observation, Role, SeenNode, SeenService, State


@dataclass(frozen=True)
class Verdict:
    """The answer to the two questions that matter."""

    up: bool
    """Orders are accepted."""
    can_lose_a_node: bool
    """Orders would still be accepted after the loss of any one node, whichever it is."""
    reasons: tuple[str, ...]
    """Why it is not all well; empty where it is."""

    @property
    def exit_code(self) -> int:
        """0 all well, 1 degraded, 2 down."""
        if not self.up:
            return 2
        return 1 if self.reasons else 0


def decide(seen: Observation) -> Verdict:
    """The verdict on what was seen."""
    up_gaps = list(_gaps(seen, seen.nodes))
    loss_gaps = list(_loss_gaps(seen))
    reasons = [*up_gaps, *_service_reasons(seen), *_protection_reasons(seen)]
    if not up_gaps:
        # Where nothing is taken now, what would be missing later is no news.
        reasons += loss_gaps
    safe = not up_gaps and not loss_gaps and not any(_protection_reasons(seen))
    return Verdict(
        up=not up_gaps,
        can_lose_a_node=safe and _all_supervised(seen),
        reasons=tuple(dict.fromkeys(reasons)),
    )


def _gaps(seen: Observation, nodes: Iterable[SeenNode]) -> Iterator[str]:
    """What is missing, right now, for an order to be accepted."""
    nodes = tuple(nodes)
    primaries = _having(nodes, Kind.POSTGRES, Role.PRIMARY)
    if not primaries:
        yield "no PostgreSQL is primary: nothing can be written"
    elif len(primaries) > 1:
        yield f"more than one PostgreSQL says that it is primary: {_names(primaries)}"
    elif not _having(nodes, Kind.POSTGRES, Role.STANDBY):
        yield "no standby is streaming and named in the primary's quorum: strict mode lets no order commit"
    if _has_any(seen, Kind.API):
        if not _running(nodes, Kind.API):
            yield "no API process takes requests"
        if not _running(nodes, Kind.DOOR):
            yield "no door takes requests"
        if _running(nodes, Kind.API) and not _able(nodes):
            yield "no API process that takes requests says that its database is well"


def _loss_gaps(seen: Observation) -> Iterator[str]:
    """What would be missing after the loss of each node in turn."""
    for lost in seen.nodes:
        left = [node for node in seen.nodes if node is not lost]
        for gap in _gaps_after_loss(seen, left):
            yield f"the loss of {lost.name} would leave {gap}"


def _gaps_after_loss(seen: Observation, left: list[SeenNode]) -> Iterator[str]:
    quorum = len(seen.nodes) // 2 + 1
    etcd = len(_running(left, Kind.ETCD))
    if etcd < quorum:
        yield f"{etcd} of {len(seen.nodes)} etcd members, too few for a quorum"
    # One of the two becomes primary if it is not already; in strict mode it needs the other one to commit.
    copies = _having(left, Kind.POSTGRES, Role.PRIMARY) + _having(left, Kind.POSTGRES, Role.STANDBY)
    if len(copies) < 2:
        yield f"{len(copies)} of the two PostgreSQL servers that a commit needs"
    if _has_any(seen, Kind.API):
        if not _able(left):
            yield "no API process with a database"
        if not _running(left, Kind.DOOR):
            yield "no door"


def _service_reasons(seen: Observation) -> Iterator[str]:
    """Every service that is not as it should be, held ones included: held is a reason, not an excuse."""
    for node in seen.nodes:
        if node.held or all(service.state is State.LOST for service in node.services):
            yield f"{node.name} is held down on purpose" if node.held else f"nothing runs on {node.name}"
            continue
        for service in node.services:
            if service.held:
                yield f"{node.name}/{service.name} is held on purpose"
            elif service.state is not State.RUNNING:
                yield f"{node.name}/{service.name} is {service.state}"
            elif not service.ready and _has_any(seen, Kind.API):
                yield f"{node.name}/{service.name} takes no requests: {service.evidence}"
            elif service.kind is Kind.API and service.database != "ok":
                yield f"{node.name}/{service.name} {database_word(service)}"
            elif service.role is Role.REPLICA:
                yield f"{node.name}/{service.name} is a replica on which no commit waits (yet)"


def _protection_reasons(seen: Observation) -> Iterator[str]:
    if not seen.strict:
        yield "Patroni's configuration is not quorum-synchronous and strict"
    if seen.paused:
        yield "Patroni is paused: nobody takes over by itself"


def _all_supervised(seen: Observation) -> bool:
    """A node without supervision has no second try: what dies there stays dead."""
    supervision = (Kind.SUPERVISOR, Kind.PATRONI)
    return all(
        service.state is State.RUNNING
        for node in seen.nodes
        for service in node.services
        if service.kind in supervision
    )


def _has_any(seen: Observation, kind: Kind) -> bool:
    """A topology without API processes is a database cluster: no door or API process is missed there."""
    return any(node.of_kind(kind) for node in seen.nodes)


def _running(nodes: Iterable[SeenNode], kind: Kind) -> list[tuple[SeenNode, SeenService]]:
    return [
        (node, service)
        for node in nodes
        for service in node.of_kind(kind)
        if service.state is State.RUNNING and service.ready
    ]


def _able(nodes: Iterable[SeenNode]) -> list[SeenService]:
    """API processes that take requests and reach their database."""
    return [service for _, service in _running(nodes, Kind.API) if service.database == "ok"]


def database_word(service: SeenService) -> str:
    """What an API process said of its database, as words after its name."""
    return f"says that its database is '{service.database}'" if service.database else "does not say how its database is"


def _having(nodes: Iterable[SeenNode], kind: Kind, role: Role) -> list[tuple[SeenNode, SeenService]]:
    return [(node, service) for node, service in _running(nodes, kind) if service.role is role]


def _names(found: list[tuple[SeenNode, SeenService]]) -> str:
    return ", ".join(f"{node.name}/{service.name}" for node, service in found)
