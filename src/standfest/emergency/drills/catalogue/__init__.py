"""The drills, by the kind of thing that they break."""

from standfest.emergency.drills.catalogue import (
    database,
    doors,
    drainers,
    journal_full,
    lost_copies,
    nodes,
    processes,
    stores,
    supervisors,
    votes,
    waiters,
    way_back,
)
from standfest.emergency.drills.drill import Drill
from standfest.errors import StandfestError

_KINDS = (
    database,
    votes,
    nodes,
    stores,
    journal_full,
    lost_copies,
    processes,
    supervisors,
    doors,
    waiters,
    drainers,
    way_back,
)

DRILLS: tuple[Drill, ...] = tuple(
    sorted((drill for kind in _KINDS for drill in kind.DRILLS), key=lambda drill: drill.numbers)
)
"""Every drill, in the order of the catalogue of faults."""


class NoSuchDrill(StandfestError):
    """The name is none of a drill."""

    exit_code = 2


def find(name: str) -> tuple[Drill, ...]:
    """The drill with this name, all of them for `all`; NoSuchDrill otherwise."""
    found = DRILLS if name == "all" else tuple(drill for drill in DRILLS if drill.name == name)
    if not found:
        raise NoSuchDrill(f"there is no drill '{name}'; see them all with: ./standfest drill list")
    return found
