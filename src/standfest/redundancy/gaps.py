"""What an order needs, and what of it is missing on given nodes: an entrance, and one of two ways to be kept.

Asked of all nodes, the answer is about now; asked of all but one, about the loss of that one.
"""

from collections.abc import Iterable, Iterator, Sequence

from standfest.cluster.inventory import Kind
from standfest.cluster.observation import Observation, Role, SeenNode, SeenService, State

Found = list[tuple[SeenNode, SeenService]]


def entrance_gaps(seen: Observation) -> Iterator[str]:
    """What is missing for a request to be taken at all."""
    if _has_api(seen):
        if not running(seen.nodes, Kind.API):
            yield "no API process takes requests"
        if not running(seen.nodes, Kind.DOOR):
            yield "no door takes requests"


def database_gaps(seen: Observation) -> Iterator[str]:
    """What is missing for an order to be written to the database."""
    nodes = seen.nodes
    primaries = _having(nodes, Kind.POSTGRES, Role.PRIMARY)
    if not primaries:
        yield "no PostgreSQL is primary: nothing can be written"
    elif len(primaries) > 1:
        yield f"more than one PostgreSQL says that it is primary: {_names(primaries)}"
    elif not _having(nodes, Kind.POSTGRES, Role.STANDBY):
        yield "no standby is streaming and named in the primary's quorum: strict mode lets no order commit"
    if running(nodes, Kind.API) and not reaching_database(nodes):
        yield "no API process that takes requests says that its database is well"


def journal_gaps(seen: Observation) -> Iterator[str]:
    """What is missing for an order to be accepted into the journal."""
    nodes = seen.nodes
    members = len(able_members(nodes, Kind.JOURNAL))
    if members < _quorum(seen):
        yield f"the journal has no quorum: {members} of {len(nodes)} members can take an order"
    elif not _having(nodes, Kind.JOURNAL, Role.LEADER):
        yield "the journal has no leader"
    if running(nodes, Kind.API) and not reaching_journal(nodes):
        yield "no API process that takes requests says that its journal is well"


def rival_leaders(seen: Observation) -> Iterator[str]:
    """Etcd clusters of which more than one member leads; seen for a moment where leadership is being handed over."""
    for kind in (Kind.ETCD, Kind.JOURNAL):
        leaders = _having(seen.nodes, kind, Role.LEADER)
        if len(leaders) > 1:
            yield f"more than one {kind} member says that it leads: {_names(leaders)}"


def entrance_gaps_without(lost: SeenNode, seen: Observation) -> Iterator[str]:
    """What the loss of a node would leave too little of for requests to be taken."""
    left = _others(lost, seen)
    if _has_api(seen):
        if not running(left, Kind.API):
            yield "no API process"
        if not running(left, Kind.DOOR):
            yield "no door"


def database_gaps_without(lost: SeenNode, seen: Observation) -> Iterator[str]:
    """What the loss of a node would leave too little of for orders to be written to the database."""
    left = _others(lost, seen)
    etcd = len(able_members(left, Kind.ETCD))
    if etcd < _quorum(seen):
        yield f"{etcd} of {len(seen.nodes)} etcd members, too few for a quorum"
    # One of the two becomes primary if it is not already; in strict mode it needs the other one to commit.
    copies = _having(left, Kind.POSTGRES, Role.PRIMARY) + _having(left, Kind.POSTGRES, Role.STANDBY)
    if len(copies) < 2:
        yield f"{len(copies)} of the two PostgreSQL servers that a commit needs"
    if running(left, Kind.API) and not reaching_database(left):
        yield "no API process with a database"


def journal_gaps_without(lost: SeenNode, seen: Observation) -> Iterator[str]:
    """What the loss of a node would leave too little of for the journal to bridge a failover."""
    left = _others(lost, seen)
    members = len(able_members(left, Kind.JOURNAL))
    if members < _quorum(seen):
        yield f"{members} of {len(seen.nodes)} journal members, too few for a quorum"
    if _has_api(seen) and not running(left, Kind.WORKER):
        yield "no worker that drains the journal"
    if running(left, Kind.API) and not reaching_journal(left):
        yield "no API process with a journal"


def running(nodes: Iterable[SeenNode], kind: Kind) -> Found:
    """The services of a kind that run and want traffic."""
    return [
        (node, service)
        for node in nodes
        for service in node.of_kind(kind)
        if service.state is State.RUNNING and service.ready
    ]


def able_members(nodes: Iterable[SeenNode], kind: Kind) -> Found:
    """The members of an etcd that can commit a write: one with an alarm takes none."""
    return [(node, service) for node, service in running(nodes, kind) if not service.alarm]


def reaching_database(nodes: Iterable[SeenNode]) -> list[SeenService]:
    """API processes that take requests and reach their database."""
    return _reaching(nodes, "database")


def reaching_journal(nodes: Iterable[SeenNode]) -> list[SeenService]:
    """API processes that take requests and reach the journal."""
    return _reaching(nodes, "journal")


def _reaching(nodes: Iterable[SeenNode], dependency: str) -> list[SeenService]:
    """Without a catalogue no order can be priced, whatever else there is."""
    return [
        service
        for _, service in running(nodes, Kind.API)
        if service.dependencies.get(dependency) == "ok" and service.dependencies.get("catalogue") != "unavailable"
    ]


def _has_api(seen: Observation) -> bool:
    """A topology without API processes is a database cluster: no door, API process or worker is missed there."""
    return any(node.of_kind(Kind.API) for node in seen.nodes)


def _others(lost: SeenNode, seen: Observation) -> Sequence[SeenNode]:
    return [node for node in seen.nodes if node is not lost]


def _quorum(seen: Observation) -> int:
    return len(seen.nodes) // 2 + 1


def _having(nodes: Iterable[SeenNode], kind: Kind, role: Role) -> Found:
    return [(node, service) for node, service in running(nodes, kind) if service.role is role]


def _names(found: Found) -> str:
    return ", ".join(f"{node.name}/{service.name}" for node, service in found)
