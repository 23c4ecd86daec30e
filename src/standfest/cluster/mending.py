"""When a node's copy is given up and made anew: decided purely, from what was seen.

Invariant: a copy is given up only where what it holds is elsewhere for certain. A member of an etcd: all others can
commit, so that they hold everything that was acknowledged, and its removal is itself committed by them. A standby's
database: another server is primary and runs, and a third one has a copy, which is not being made anew meanwhile.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from standfest.cluster.observation import Role


class Listed(enum.Enum):
    """What the others say of a member."""

    UNKNOWN = "they do not say"
    NO = "it does not belong to them"
    NEVER_STARTED = "it was added and has not started yet"
    LEARNER = "it copies what they hold, and does not count yet"
    YES = "it belongs to them"


@dataclass(frozen=True)
class MemberFacts:
    """A member of an etcd, as its own node sees it."""

    held: bool = False
    """It is held on purpose."""
    has_data: bool = True
    serves: bool = True
    """It can commit."""
    ends: bool = False
    """It ends again and again: supervisor has given it up, or is about to."""
    damage: str = ""
    """What it said of its data when it last ended; empty where nothing of the kind."""
    listed: Listed = Listed.YES
    others_missing: tuple[str, ...] = ()
    """Nodes of the other members that cannot commit."""


@dataclass(frozen=True)
class StandbyFacts:
    """A PostgreSQL server, as its own node sees it."""

    node: str
    held: bool = False
    role: Role | None = Role.REPLICA
    """None where nobody knows."""
    too_far_behind: str = ""
    """What it said of WAL that its primary has no more; empty where nothing of the kind, or not lately."""
    others: Mapping[str, tuple[Role | None, str]] = field(default_factory=dict)
    """The other servers by node: role, and state as its own Patroni tells it, empty where that does not answer."""
    streaming: frozenset[str] = frozenset()
    """Nodes of those that stream, as their own Patroni tells it."""
    paused: bool = False
    """Patroni is told to leave all as it is."""


class Do(enum.Enum):
    """What is to be done."""

    NOTHING = "nothing"
    WAIT = "wait"
    """Something is wrong, and nothing may be done about it yet."""
    JOIN = "join"
    """Give up a member's data, and let an empty one take its place."""
    FINISH = "finish"
    """Let a member that was given its place already come to its end."""
    CLONE = "clone"
    """Give up a standby's data, and clone it anew."""


@dataclass(frozen=True)
class Decision:
    """What is to be done, for which reason, and what it waits for."""

    do: Do
    why: str = ""
    waits_for: str = ""
    gives_up: bool = False
    """Data that is there is given up."""
    from_primary: bool = False
    """It is cloned from the primary, as another standby may be too far behind itself."""


NOTHING = Decision(Do.NOTHING)

CLONING = "creating replica"
"""State of a Patroni that clones."""


def decide_member(facts: MemberFacts) -> Decision:
    """What is to be done with a member of an etcd."""
    # One that serves without its data is on a disk that was emptied under it: what it writes is lost with its process.
    if facts.held or (facts.serves and facts.has_data):
        return NOTHING
    if facts.listed in (Listed.LEARNER, Listed.NEVER_STARTED):
        return Decision(Do.FINISH, "it was given its place, and does not count yet")
    if not facts.has_data:
        why = "its data is gone"
    elif facts.has_data and facts.listed is Listed.NO:
        why = "the others have removed it"
    elif facts.has_data and facts.ends and facts.damage:
        why = f"its data is damaged: {facts.damage}"
    else:
        return NOTHING
    if facts.others_missing:
        return Decision(Do.WAIT, why, f"the members on {' and '.join(facts.others_missing)} to be well")
    if facts.listed is Listed.UNKNOWN:
        return Decision(Do.WAIT, why, "one of the others to say who belongs to them")
    return Decision(Do.JOIN, why, gives_up=facts.has_data)


def decide_standby(facts: StandbyFacts) -> Decision:
    """What is to be done with a PostgreSQL server."""
    if facts.held or facts.role is not Role.REPLICA or not facts.too_far_behind:
        return NOTHING
    why = facts.too_far_behind
    primaries = [node for node, (role, state) in facts.others.items() if (role, state) == (Role.PRIMARY, "running")]
    copies = [
        node
        for node, (role, state) in facts.others.items()
        if role in (Role.STANDBY, Role.REPLICA) and state in ("running", "streaming", "starting")
    ]
    cloning = [node for node, (_, state) in facts.others.items() if state == CLONING]
    if facts.paused:
        return Decision(Do.WAIT, why, "Patroni's pause to end")
    if len(primaries) != 1:
        return Decision(Do.WAIT, why, "one other server to be primary")
    if cloning:
        return Decision(Do.WAIT, why, f"{' and '.join(cloning)}, which is being cloned")
    if not copies:
        return Decision(Do.WAIT, why, "another standby: this one has the only copy besides the primary's")
    return Decision(Do.CLONE, why, gives_up=True, from_primary=not facts.streaming.issuperset(copies))
