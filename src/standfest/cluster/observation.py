"""What was seen of a cluster at one moment: facts only, from which verdicts are drawn elsewhere."""

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from standfest.clients.supervisor import ProgramState
from standfest.cluster.inventory import Kind

DEPENDENCIES = ("database", "journal", "catalogue")
"""What each API process needs, and is asked about."""


class State(enum.StrEnum):
    """How a service is."""

    RUNNING = "running"
    """It runs and answers."""
    STARTING = "starting"
    UNRESPONSIVE = "unresponsive"
    """Its process is there and does not answer as it should."""
    FAILING = "failing"
    """It ends again and again, or has just ended; supervision starts it again."""
    STOPPED = "stopped"
    """It was asked to stop, or not asked to start."""
    LOST = "lost"
    """It does not run and neither does its node's supervisor: nothing will start it again but `up`."""


class Role(enum.StrEnum):
    """What a replicated service is among its peers."""

    PRIMARY = "primary"
    STANDBY = "standby"
    """A standby on which the primary's commits wait: named in its quorum, and streaming."""
    REPLICA = "replica"
    """A standby on which no commit waits: it is catching up, or the primary does not name it."""
    LEADER = "leader"
    FOLLOWER = "follower"


@dataclass(frozen=True)
class SeenService:
    """One service as it was seen."""

    name: str
    kind: Kind
    address: str
    state: State
    pid: int | None = None
    """The process that does the work: the postmaster, a door's worker; None where none runs."""
    role: Role | None = None
    held: bool = False
    unsupervised: bool = False
    """Its node's supervisor runs, and its process is one that the supervisor did not start and does not look after."""
    ready: bool = True
    """Whether it wants traffic: not so an API process that is draining, or a door that has none behind it."""
    dependencies: Mapping[str, str] = field(default_factory=dict)
    """How an API process says that what it needs is, `ok` where it is well; without those that it did not name."""
    alarm: str = ""
    """What a member of an etcd has raised until somebody disarms it, such as NOSPACE: it takes nothing more."""
    findings: Mapping[str, int] = field(default_factory=dict)
    """What an audit that was asked for it finds wrong: orders by flaw, such as `missing`, and other
    faults by kind, such as `stock`; without those that it has not."""
    evidence: str = ""
    """What was asked and what came back, where the service is not as it should be."""
    mending: str = ""
    """What its node does to make its copy anew, or waits for, and why; empty where it does not."""


@dataclass(frozen=True)
class SeenNode:
    """One node as it was seen."""

    name: str
    address: str
    services: tuple[SeenService, ...]
    held: bool = False
    lacks: tuple[Kind, ...] = ()
    """The etcd clusters of which it holds no member while others do: it has to be given its place before it starts."""

    def of_kind(self, kind: Kind) -> tuple[SeenService, ...]:
        """Its services of one kind."""
        return tuple(service for service in self.services if service.kind is kind)


@dataclass(frozen=True)
class Backlog:
    """What waits in the journal to be drained."""

    count: int
    oldest_id: str | None
    """None where nothing waits, or too much for asking which is the oldest."""
    oldest_age_s: float | None
    """Seconds since the oldest entry was accepted, or at most so many; 0 where nothing waits, None where unknown."""


@dataclass(frozen=True)
class Entries:
    """What the journal holds."""

    backlog: Backlog
    apart_count: int
    """Entries in quarantine."""


@dataclass(frozen=True)
class SeenCertificate:
    """A certificate of the cluster."""

    file: str
    of: str
    """Whose, for people."""
    ends_at: datetime.datetime
    left: datetime.timedelta
    """Until then, when it was looked at."""


@dataclass(frozen=True)
class Observation:
    """The whole cluster as it was seen."""

    nodes: tuple[SeenNode, ...]
    strict: bool = True
    """Whether Patroni's shared configuration says quorum-synchronous and strict; True where nobody could be asked."""
    paused: bool = False
    """Whether automatic failover is switched off (Patroni's pause)."""
    entries: Entries | None = None
    """What the journal holds; None where it was not asked, or no quorum of it answered."""
    certificates: tuple[SeenCertificate, ...] = ()


def service_state(
    program: ProgramState | None, *, has_process: bool, answers: bool, held: bool, supervisor_lives: bool
) -> State:
    """How a service is, from what was found out. `program` is None where supervisor could not say."""
    if has_process and answers:
        return State.RUNNING
    if has_process:
        return State.STARTING if program is ProgramState.STARTING else State.UNRESPONSIVE
    if held:
        return State.STOPPED
    if not supervisor_lives:
        return State.LOST
    return State.STOPPED if program in (ProgramState.STOPPED, ProgramState.STOPPING) else State.FAILING
