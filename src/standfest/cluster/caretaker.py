"""What no restart mends on a node: copies that have to be made anew, and logs, which nobody else bounds.

A thread of the node's restarter. Standard library only. What takes a whole cluster to decide is done by a process of
its own, the mender, which is started only where there is a reason.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable

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
    threading.Thread(target=_look_after, args=(home, given_up), name="caretaker", daemon=True).start()


def _look_after(home: NodeHome, given_up: Callable[[float], tuple[str, ...]]) -> None:
    watch = Watch()
    while True:
        time.sleep(EVERY_S)
        try:
            remove_old_logs(home)
            mark_founded(home)
            if watch.due(look(home, given_up(time.monotonic())), time.monotonic()):
                _mend(home)
            turn_over_logs(home)
        except Exception:
            # Whatever is wrong with one look: without this thread nothing is mended until the restarter's next start.
            _logger.exception("one look at %s failed", home.root)


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
            file.unlink(missing_ok=True)


def turn_over_logs(home: NodeHome) -> None:
    """Begin the programs' logs anew where they have more than PROGRAM_LOG_BYTES_MAX, and keep what they had.

    Programs append to an open file, so it is copied and emptied; a line that comes in between is lost.
    """
    for file in home.logs.glob("*.log"):
        if file.name in _KEPT_BY_SUPERVISOR or file.match("postgres-*.log"):
            continue
        if file.stat().st_size > PROGRAM_LOG_BYTES_MAX:
            older = file.with_name(f"{file.name}.1")
            if older.exists():
                older.replace(file.with_name(f"{file.name}.2"))
            try:
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
