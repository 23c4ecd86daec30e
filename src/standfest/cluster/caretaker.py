"""What no restart mends on a node: copies that have to be made anew, and logs, which nobody else bounds.

Two threads of the node's restarter: mending may take minutes, and logs grow meanwhile. Standard library only. What
takes a whole cluster to decide is done by a process of its own, the mender, which is started only where there is a
reason.

The restarter ends with the node's supervisor, and what that looked after runs on: until `up` has started another one
nobody bounds the node's logs. PostgreSQL begins new files, and a program's log grows by what it says.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from standfest.cluster.home import NodeHome
from standfest.cluster.symptoms import Watch, look, mark_founded

EVERY_S = 5.0

_MENDER_S = 600.0
"""It has deadlines of its own, which are shorter."""

LOG_BYTES_MAX = 32 * 1024 * 1024
"""Of PostgreSQL's log on a node, without what is written between two looks. It begins a new file every 5 MB
(log_rotation_size), or every second where more is written."""

PROGRAM_LOG_BYTES_MAX = 5 * 1024 * 1024
"""Of one file of a program's log, without what is written between two looks; two older ones are kept."""

_KEPT_BY_SUPERVISOR = ("supervisor.log", "restarter.log")

_logger = logging.getLogger("standfest.caretaker")


def mender_arguments(home: NodeHome) -> list[str]:
    """What follows the interpreter in the node's mender."""
    return ["-m", "standfest.cluster.mender", "--home", str(home.root.parent.parent), "--node", home.root.name]


def look_after(home: NodeHome, given_up: Callable[[float], tuple[str, ...]]) -> None:
    """Begin to look after a node, for as long as this process lives. `given_up`: as `Restarts.failed_lately`."""
    watch = Watch()

    def mend_where_due(home: NodeHome) -> None:
        if watch.due(look(home, given_up(time.monotonic())), time.monotonic()):
            _mend(home)

    for name, steps in (("logs", (turn_over_logs, remove_old_logs)), ("copies", (mark_founded, mend_where_due))):
        threading.Thread(target=_repeat, args=(home, steps), name=f"caretaker of {name}", daemon=True).start()


def _repeat(home: NodeHome, steps: Sequence[Callable[[NodeHome], None]]) -> None:
    while True:
        time.sleep(EVERY_S)
        take_steps(home, steps)


def take_steps(home: NodeHome, steps: Sequence[Callable[[NodeHome], None]]) -> None:
    """Take each step, whatever becomes of the others; what goes wrong is logged."""
    for step in steps:
        try:
            step(home)
        except Exception:
            # Whatever is wrong: without this thread nothing is looked after until the restarter's next start.
            _logger.exception("%s failed at %s, and is tried again in %.0f s", step.__name__, home.root, EVERY_S)


def remove_old_logs(home: NodeHome) -> None:
    """Remove PostgreSQL's oldest log files where all have more than LOG_BYTES_MAX; the newest is in use and stays."""
    found = []
    for file in home.logs.glob("postgres-*.log"):
        with contextlib.suppress(OSError):
            status = file.stat()
            found.append((status.st_mtime, file, status.st_size))
    newest_first = sorted(found, reverse=True)
    kept_bytes = 0
    for position, (_, file, size) in enumerate(newest_first):
        kept_bytes += size
        if kept_bytes > LOG_BYTES_MAX and position > 0:
            try:
                file.unlink(missing_ok=True)
            except OSError:  # the others are to go all the same
                _logger.exception("%s was not removed", file)


def turn_over_logs(home: NodeHome) -> None:
    """Begin the programs' logs anew where they have more than PROGRAM_LOG_BYTES_MAX, and keep what they had.

    Programs append to an open file, so it is copied and emptied; a line that comes in between is lost.
    """
    for file in home.logs.glob("*.log"):
        if file.name in _KEPT_BY_SUPERVISOR or file.match("postgres-*.log"):
            continue
        try:
            if file.stat().st_size > PROGRAM_LOG_BYTES_MAX:
                _turn_over(file)
        except OSError:  # the others are to be bounded all the same
            _logger.exception("%s was not kept as it should be", file)


def _turn_over(file: Path) -> None:
    older = file.with_name(f"{file.name}.1")
    try:
        if older.exists():
            older.replace(file.with_name(f"{file.name}.2"))
        shutil.copyfile(file, older)
    finally:  # also where the disk is full
        os.truncate(file, 0)


def _mend(home: NodeHome) -> None:
    """Run the mender once. Its output goes where this process's does; standard output is supervisor's."""
    command = [sys.executable, *mender_arguments(home)]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=_MENDER_S, check=False)
    except subprocess.TimeoutExpired:
        _logger.error("the mender of %s did not end within %.0f s and was killed", home.root.name, _MENDER_S)
