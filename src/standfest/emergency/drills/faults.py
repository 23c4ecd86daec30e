"""Faults that a drill puts into a cluster, by verified pid, each with the proof that it happened.

What they act on comes from the data of `standfest status --json`: nothing here finds processes by name.
"""

import contextlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from standfest.emergency.drills import processes
from standfest.emergency.drills.processes import Process
from standfest.errors import StandfestError

GONE_TIMEOUT_S = 5.0
"""How long a process may take to disappear after SIGKILL before the fault counts as not having happened."""

STOPPED_TIMEOUT_S = 5.0
"""How long a process may take to stand still after SIGSTOP."""

POLL_S = 0.01

READY_TIMEOUT_S = 10.0
"""How long the guard of a freeze may take to start."""

WAKE_TIMEOUT_S = 10.0
"""How long it may take to wake what is frozen."""


class FaultFailed(StandfestError):
    """A fault could not be put in, or did not happen: the drill proves nothing."""


@dataclass(frozen=True)
class Target:
    """One service of the cluster as status showed it, with its process verified."""

    node: str
    service: str
    role: str | None
    process: Process

    def __str__(self) -> str:
        return f"{self.node}/{self.service} (pid {self.process.pid})"


def services(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each service in the data of `status --json`, with its node's name."""
    for node in status["nodes"]:
        for service in node["services"]:
            yield node["name"], service


def primary(status: Mapping[str, Any]) -> Target:
    """The PostgreSQL server that is primary now; FaultFailed unless exactly one is, with a pid."""
    found = [(node, service) for node, service in services(status) if service["role"] == "primary"]
    if len(found) != 1:
        names = ", ".join(node for node, _ in found) or "none"
        raise FaultFailed(f"expected one primary, found {names}: see `standfest status`")
    return _target(*found[0])


def node_at(status: Mapping[str, Any], address: str) -> str:
    """The name of the node with this address; FaultFailed where there is none."""
    for node in status["nodes"]:
        if node["address"] == address:
            return str(node["name"])
    raise FaultFailed(f"no node has the address {address}: see `standfest status`")


def kill(target: Target) -> None:
    """SIGKILL, and the proof that the process is gone; FaultFailed where it is not."""
    processes.send(target.process, signal.SIGKILL)
    if not processes.wait_gone(target.process, GONE_TIMEOUT_S):
        raise FaultFailed(f"{target} still runs {GONE_TIMEOUT_S:.0f} s after SIGKILL")


@contextlib.contextmanager
def frozen(target: Target) -> Iterator[list[Process]]:
    """Stops the target and all that it started for as long as the block runs; yields what was stopped.

    They are woken when the block ends, and also when this process is killed in it (see `thaw`).
    """
    victims = processes.descendants(target.process)
    if not victims or victims[0] != target.process:
        raise FaultFailed(f"{target} is gone: there is nothing to freeze")
    with _guard(victims):
        for victim in victims:
            _stop(victim)
        if not _stands_still(target.process):
            raise FaultFailed(f"{target} still runs {STOPPED_TIMEOUT_S:.0f} s after SIGSTOP")
        yield victims


def _stands_still(process: Process) -> bool:
    """Whether a process that was sent SIGSTOP is stopped: a system call that it is in comes to its end first."""
    deadline = time.monotonic() + STOPPED_TIMEOUT_S
    while processes.state(process) != "T":
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _stop(victim: Process) -> None:
    try:
        processes.send(victim, signal.SIGSTOP)
    except processes.ProcessGone:
        return  # A child that ended by itself between being listed and being stopped needs no stopping.


@contextlib.contextmanager
def _guard(victims: list[Process]) -> Iterator[None]:
    # A session of its own keeps the guard alive when the terminal interrupts the drill's process group.
    guard = subprocess.Popen(
        [sys.executable, "-m", "standfest.emergency.drills.thaw", *map(str, victims)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _await_ready(guard)
        yield
    finally:
        # The end of its input is the guard's signal; `communicate` closes it, and waits for the guard to end.
        guard.communicate(timeout=WAKE_TIMEOUT_S)


def _await_ready(guard: "subprocess.Popen[bytes]") -> None:
    output = guard.stdout
    if output is None or not select.select([output], [], [], READY_TIMEOUT_S)[0] or not output.readline():
        raise FaultFailed("the guard that wakes frozen processes did not start: nothing was frozen")


def _target(node: str, entry: Mapping[str, Any]) -> Target:
    if not entry["pid"]:
        raise FaultFailed(f"{node}/{entry['name']} has no process: see `standfest status`")
    return Target(node, entry["name"], entry["role"], processes.identify(int(entry["pid"])))
