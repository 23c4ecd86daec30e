"""Faults that a drill puts into a cluster, by verified pid, each with the proof that it happened.

What they act on comes from the data of `standfest status --json`: nothing here finds processes by name.
"""

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from standfest.emergency.drills import processes
from standfest.emergency.drills.guard import Guard
from standfest.emergency.drills.processes import Process
from standfest.errors import StandfestError

GONE_TIMEOUT_S = 5.0
"""How long a process may take to disappear after SIGKILL before the fault counts as not having happened."""

STOPPED_TIMEOUT_S = 5.0
"""How long a process may take to stand still after SIGSTOP."""

POLL_S = 0.01

STOPPED = "TtZX"
"""States of /proc/PID/stat of a process that does nothing."""


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
    kill_process(target.process)


def kill_process(process: Process) -> None:
    """The same for a process that is no service by itself."""
    processes.send(process, signal.SIGKILL)
    if not processes.wait_gone(process, GONE_TIMEOUT_S):
        raise FaultFailed(f"process {process.pid} still runs {GONE_TIMEOUT_S:.0f} s after SIGKILL")


def lose_power(victims: Sequence[Process]) -> None:
    """Ends all of these at once: each is stopped before the first one dies, so that none sees another one go."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for victim in victims:
            with contextlib.suppress(processes.ProcessGone):  # a child that ended by itself after it was listed
                processes.send(victim, number)


@contextlib.contextmanager
def frozen(target: Target, guard: Guard) -> Iterator[list[Process]]:
    """Stops the target and all that it started for as long as the block runs; yields what was stopped.

    They are woken when the block ends, and also when this process is killed in it (see `guard`).
    """
    victims = processes.descendants(target.process)
    if not victims or victims[0] != target.process:
        raise FaultFailed(f"{target} is gone: there is nothing to freeze")
    with frozen_processes(victims, guard):
        yield victims


@contextlib.contextmanager
def frozen_processes(victims: Sequence[Process], guard: Guard) -> Iterator[None]:
    """Stops these processes for as long as the block runs; FaultFailed where one of them still runs."""
    with guard.waking(victims):
        for victim in victims:
            _stop(victim)
        for victim in victims:
            if not _stands_still(victim):
                raise FaultFailed(f"process {victim.pid} still runs {STOPPED_TIMEOUT_S:.0f} s after SIGSTOP")
        yield


def stands_still(victims: Sequence[Process]) -> bool:
    """Whether each of them is stopped now, or gone."""
    return all(_state(victim) in STOPPED for victim in victims)


def _state(victim: Process) -> str:
    try:
        return processes.state(victim)
    except processes.ProcessGone:
        return "X"


def _stands_still(process: Process) -> bool:
    """Whether a process that was sent SIGSTOP is stopped: a system call that it is in comes to its end first."""
    deadline = time.monotonic() + STOPPED_TIMEOUT_S
    while not stands_still([process]):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _stop(victim: Process) -> None:
    try:
        processes.send(victim, signal.SIGSTOP)
    except processes.ProcessGone:
        return  # A child that ended by itself between being listed and being stopped needs no stopping.


def target(status: Mapping[str, Any], node: str, service: str) -> Target:
    """The process of one service; FaultFailed where there is none."""
    for name, entry in services(status):
        if (name, entry["name"]) == (node, service):
            return _target(node, entry)
    raise FaultFailed(f"there is no service {node}/{service}: see `standfest status`")


def having_role(status: Mapping[str, Any], service: str, role: str) -> list[Target]:
    """The processes of a service, on whatever nodes, that have this role now."""
    return [
        _target(node, entry)
        for node, entry in services(status)
        if entry["name"] == service and entry["role"] == role and entry["pid"]
    ]


def leader(status: Mapping[str, Any], service: str) -> Target:
    """The member that leads (`etcd`, `journal`); FaultFailed unless exactly one does."""
    found = having_role(status, service, "leader")
    if len(found) != 1:
        names = ", ".join(each.node for each in found) or "none"
        raise FaultFailed(f"expected one leader of {service}, found {names}: see `standfest status`")
    return found[0]


def _target(node: str, entry: Mapping[str, Any]) -> Target:
    if not entry["pid"]:
        raise FaultFailed(f"{node}/{entry['name']} has no process: see `standfest status`")
    return Target(node, entry["name"], entry["role"], processes.identify(int(entry["pid"])))
