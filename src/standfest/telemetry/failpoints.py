"""Places in the code at which a drill lets a process die: SIGKILL of itself, as a power loss would end it there.

A process arms nothing by itself: it reads its file when it gets SIGUSR1, and only a file that its own user alone may
write counts. Whoever can send that signal could kill the process anyway: fail points only choose the moment. A
process that is started again is not armed.
"""

import asyncio
import os
import re
import signal
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import structlog

from standfest.errors import StandfestError

FailPoint = Literal[
    "intake.direct-committed",  # the order's transaction is committed, its answer is not sent
    "journal.created",  # the journal's etcd has said yes, the answer is not sent
    "drain.committed",  # drained entries are committed in the database and still in the journal
    "upkeep.compacting",  # the journal's history is being compacted
]

NAMES: tuple[FailPoint, ...] = get_args(FailPoint)
"""All fail points there are."""

SIZE_MAX_BYTES = 4096
"""A longer file is refused."""

_LINE = re.compile(r"(?P<name>\S+)(?: after=(?P<after>[1-9][0-9]{0,5}))?")
_armed: dict[str, int] = {}
"""How many times each armed point is still to be reached, the deadly one included."""

_log = structlog.get_logger(__name__)


class FailPointsRefused(StandfestError):
    """The file of fail points is not one that a process obeys; nothing of it is armed."""


def reach(name: FailPoint) -> None:
    """Ends this process at once where `name` is armed and due; else it costs one look-up."""
    if name in _armed:
        _armed[name] -= 1
        if _armed[name] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def install(file: Path) -> None:
    """Reads `file` at every SIGUSR1 from now on, and arms what it names in place of what was armed.

    The file has a fail point a line, `NAME` or `NAME after=N` (die when it is reached for the N-th time); an empty
    one disarms. It must belong to this process's user and have mode 0600. To be called on the running event loop of
    the main thread.
    """
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _arm, file)


def _arm(file: Path) -> None:
    _armed.clear()
    try:
        points = parse(_read(file))
    except (OSError, FailPointsRefused) as error:
        _log.error("fail points refused: none is armed", file=str(file), reason=str(error))
        return
    _armed.update(points)
    _log.critical("FAIL POINTS ARMED: this process kills itself at them", points=dict(points), pid=os.getpid())


def parse(text: str) -> Mapping[str, int]:
    """Which fail points a file names, and at which time each kills.

    Raises:
        FailPointsRefused: a line is not `NAME` or `NAME after=N`, or names no fail point.
    """
    points: dict[str, int] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _LINE.fullmatch(line)
        if found is None or found["name"] not in NAMES:
            raise FailPointsRefused(f"{line!r} is not 'NAME' or 'NAME after=N' with one of {', '.join(NAMES)}")
        points[found["name"]] = int(found["after"] or 1)
    return points


def _read(file: Path) -> str:
    # Looked at through the descriptor that is read from: what a path leads to may change in between.
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as opened:
        seen = os.fstat(opened.fileno())
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) != 0o600:
            raise FailPointsRefused("it has to be a file of this process's own user with mode 0600")
        if seen.st_size > SIZE_MAX_BYTES:
            raise FailPointsRefused(f"it has {seen.st_size} bytes, more than {SIZE_MAX_BYTES}")
        return opened.read(SIZE_MAX_BYTES)
