"""Processes named so that a reused pid is never hit: the pid together with its start time from /proc."""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from standfest.errors import StandfestError


class ProcessGone(StandfestError):
    """The process that a fault was meant for is not there (any more)."""


@dataclass(frozen=True)
class Process:
    """One running process; `start_ticks` is field 22 of /proc/PID/stat (clock ticks since boot)."""

    pid: int
    start_ticks: int

    def __str__(self) -> str:
        return f"{self.pid}:{self.start_ticks}"

    @classmethod
    def parse(cls, text: str) -> "Process":
        """The reverse of `str()`; ValueError where the text is something else."""
        pid, start_ticks = text.split(":")
        return cls(int(pid), int(start_ticks))


def identify(pid: int) -> Process:
    """The process that has this pid now; ProcessGone where there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(f"process {pid} does not run: take a fresh `standfest status --json`") from error
    # The command's name (field 2) stands in brackets and may hold anything, so count from the last bracket.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise ProcessGone(f"process {pid} has ended: take a fresh `standfest status --json`")
    return Process(pid, int(fields[19]))


def state(process: Process) -> str:
    """The state letter of /proc/PID/stat (R, S, D, T …) of exactly this process; ProcessGone otherwise."""
    if identify(process.pid) != process:
        raise ProcessGone(f"pid {process.pid} belongs to another process now")
    stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii", errors="replace")
    return stat.rpartition(")")[2].split()[0]


def is_running(process: Process) -> bool:
    """Whether exactly this process is still there, not only its pid."""
    try:
        return identify(process.pid) == process
    except ProcessGone:
        return False


def send(process: Process, number: signal.Signals) -> None:
    """Sends a signal to exactly this process; ProcessGone where the pid belongs to another one by now."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError as error:
        raise ProcessGone(f"process {process.pid} is gone: nothing was sent to it") from error
    try:
        # The descriptor pins the process, so the comparison cannot be outrun by a reuse of the pid.
        if identify(process.pid) != process:
            raise ProcessGone(f"pid {process.pid} belongs to another process now: nothing was sent to it")
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError as error:
        raise ProcessGone(f"process {process.pid} is gone: nothing was sent to it") from error
    finally:
        os.close(handle)


def wait_gone(process: Process, timeout_s: float) -> bool:
    """Waits until the process has ended; False where it has not within the timeout."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not is_running(process):
            return True
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))
    finally:
        os.close(handle)


def descendants(root: Process) -> list[Process]:
    """The process and all that it started, parents first; those that end meanwhile are left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    found: list[Process] = []
    queue = [root.pid]
    while queue:
        pid = queue.pop(0)
        queue.extend(sorted(children.get(pid, [])))
        try:
            found.append(identify(pid))
        except ProcessGone:
            continue
    return found
