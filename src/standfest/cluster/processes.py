"""The cluster's processes, recognised without doubt before any is signalled.

A pid alone never identifies a process: its start time is compared, and the signal goes to a pinned descriptor of it.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from standfest.cluster.commands import POSTGRES_HELPER, recognise
from standfest.cluster.home import NodeHome
from standfest.cluster.inventory import Kind
from standfest.errors import StandfestError

POSTGRES_CHILD = "postgres-child"
"""The program of a postmaster's children."""

_POLL_S = 0.05


class ProcessesLeftError(StandfestError):
    """Processes did not end even though they were killed."""


@dataclass(frozen=True)
class NodeProcess:
    """One process of a node."""

    program: str
    """The program that it belongs to; `postgres` is the postmaster alone."""
    process: psutil.Process
    parent: int | None
    """Pid of the process that started it, or that it was handed to when that ended; None where it has ended itself."""


def programs_running(home: NodeHome) -> list[NodeProcess]:
    """The node's processes that a command line shows, the oldest first: all but PostgreSQL's children."""
    # All of the machine's processes are looked through again and again: only those that name the cluster get closer.
    mark = os.fsencode(home.root.parent.parent)
    found = [own for pid in psutil.pids() if mark in _command_line(pid) and (own := _recognised(pid, home))]
    return sorted(found, key=_age)


def processes_of(home: NodeHome) -> list[NodeProcess]:
    """Every process of the node, the oldest first; PostgreSQL has a session of its own and is among them."""
    found = programs_running(home)
    postmasters = {own.process.pid for own in found if own.program == Kind.POSTGRES}
    if postmasters:
        # A postmaster's children show titles of their own; those that outlive it end by themselves.
        parents = ((each, parent_of(each)) for each in psutil.process_iter())
        found += [NodeProcess(POSTGRES_CHILD, each, parent) for each, parent in parents if parent in postmasters]
    return sorted(found, key=_age)


def everything_of(home: NodeHome) -> list[psutil.Process]:
    """Every process of the node and whatever those have started, known by its command line or not."""
    found = {own.process.pid: own.process for own in processes_of(home)}
    parents = [(each, parent_of(each)) for each in psutil.process_iter()]
    while new := {each.pid: each for each, parent in parents if parent in found and each.pid not in found}:
        found |= new
    return list(found.values())


def processor_s(home: NodeHome) -> float:
    """Seconds of processor time that the node's processes have used until now, with those that they have waited for.

    The difference of two looks is what was used between them, processes that began and ended meanwhile included.
    """
    used_s = 0.0
    for process in everything_of(home):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used_s += times.user + times.system + times.children_user + times.children_system
    return used_s


def _command_line(pid: int) -> bytes:
    """As the kernel has it; empty where there is none (any more)."""
    with contextlib.suppress(OSError), Path(f"/proc/{pid}/cmdline").open("rb") as file:
        return file.read()
    return b""


def _recognised(pid: int, home: NodeHome) -> NodeProcess | None:
    try:
        process = psutil.Process(pid)
        program = recognise(process.cmdline(), home)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return NodeProcess(program, process, parent_of(process)) if program is not None else None


def parent_of(process: psutil.Process) -> int | None:
    """Pid of the process that started it, or that it was handed to; None where it has ended."""
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _age(own: NodeProcess) -> tuple[float, int]:
    try:
        return own.process.create_time(), own.process.pid
    except psutil.NoSuchProcess:
        return float("inf"), own.process.pid


def of_program(processes: Iterable[NodeProcess], program: str) -> list[psutil.Process]:
    """Those that stop and start with a program: with Patroni goes its PostgreSQL."""
    together = {program}
    if program == Kind.PATRONI:
        together |= {Kind.POSTGRES.value, POSTGRES_CHILD, POSTGRES_HELPER}
    return [own.process for own in processes if own.program in together]


def working_pid(processes: Iterable[NodeProcess], kind: Kind, program: str) -> int | None:
    """The process that does a service's work: the postmaster, a door's worker and not its master."""
    wanted = Kind.POSTGRES.value if kind is Kind.POSTGRES else program
    own = [each.process.pid for each in processes if each.program == wanted]
    if not own:
        return None
    # HAProxy's master only watches; the youngest worker is the one that takes connections.
    return own[-1] if kind is Kind.DOOR else own[0]


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Signal every one that still runs and is ours; what goes on nevertheless is for the caller to see."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            handle = os.pidfd_open(process.pid)
            try:
                # The descriptor pins the process, so the comparison cannot be outrun by a reuse of the pid.
                if process.is_running():
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


def stopped(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that stand still (SIGSTOP): they hear nothing until they are woken (SIGCONT)."""
    return [process for process in processes if _status(process) == psutil.STATUS_STOPPED]


def running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie only waits to be counted by its parent."""
    return [process for process in processes if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and _status(process) not in (psutil.STATUS_ZOMBIE, None)


def _status(process: psutil.Process) -> str | None:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return None


async def all_ended(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Wait until all have ended; False where some still run after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while running(processes):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def kill(processes: Sequence[psutil.Process], timeout_s: float = 30.0) -> None:
    """End processes that would not end by themselves; ProcessesLeftError names those that survive SIGKILL."""
    send(processes, signal.SIGKILL)
    if not await all_ended(processes, timeout_s):
        left = ",".join(str(process.pid) for process in running(processes))
        raise ProcessesLeftError(
            f"these processes survive SIGKILL: {left}; they may belong to another user (`ps -fp {left}`), "
            "or the machine's disk hangs (`dmesg`)"
        )
