"""Busy loops that take a given share of processor cores, exactly, to see what is left work with the rest.

They run in a process of their own (`python -m standfest.emergency.loops`), at real-time priority: plain busy loops get
a fair share among all that wants to run. Only root, or whom root lets (RLIMIT_RTPRIO), has that priority to give; what
is forked inherits it. A command that gives root up starts the process before (`cli.privilege`) and leaves its pipes in
the environment variable KEPT: the process is nobody's then, and has kept the priority and nothing else.

One JSON object a line: {"share", "cores", "seconds"} starts the loops, the next line ends them, and both are answered.
They end with the input, with their parent, and after so many seconds.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from standfest.errors import StandfestError

KEPT = "STANDFEST_LOOPS"
"""Descriptors of the pipes to and from the process, `WRITE:READ`, where it was started before root was given up."""
PRIORITY = 1
"""The lowest of SCHED_FIFO: before everything that has no real-time priority, behind everything else that has."""
PERIOD_S = 0.01
"""The share is taken in each period."""
SHARE_MAX = 0.95
"""The kernel leaves no more to real-time priority (sched_rt_runtime_us)."""
TOLERANCE = 0.05
"""What was taken may differ so much from what was asked for; else what was measured meanwhile says nothing."""
ANSWER_TIMEOUT_S = 10.0
_REFUSED = (
    "the busy loops may not have real-time priority, and without it they get a fair share of the processor: run the "
    "command as root, which is given up but for that priority, or let this user have it "
    "(`USER - rtprio 1` in /etc/security/limits.d, then a new session)"
)


class LoopsFailed(StandfestError):
    """The busy loops did not take what they were to take: what was measured meanwhile says nothing."""


@dataclass
class Taken:
    """What the loops are to take, and took."""

    wanted: float
    """Share of the cores."""
    cores: Sequence[int]
    share: float | None = None
    """Processor time of the loops ÷ (cores x time); known once they have ended."""


@contextlib.contextmanager
def taken(share: float, seconds_max: float, cores: Sequence[int] | None = None) -> Iterator[Taken]:
    """Takes a share of these cores, or of all that this process may use, as long as the block runs.

    Args:
        share: 0 to SHARE_MAX.
        seconds_max: the loops end after so many seconds, whatever becomes of this process.
        cores: numbers of the cores; each has a loop of its own.

    Raises:
        LoopsFailed: there are no loops, they ended before the block, or took another share.
    """
    told = Taken(share, sorted(os.sched_getaffinity(0)) if cores is None else list(cores))
    with _process() as (write, read):
        _ask(write, read, {"share": share, "cores": told.cores, "seconds": seconds_max})
        try:
            yield told
        finally:
            found = _ask(write, read, {})
            told.share = took = found["processor_s"] / (len(told.cores) * found["seconds"])
    if reason := void(share, took, whole=found["whole"]):
        raise LoopsFailed(f"{reason}: what was measured meanwhile says nothing; repeat it")


def void(wanted: float, took: float, *, whole: bool) -> str:
    """Why what was measured under the loops says nothing; empty where it counts. `whole`: they ran until the end."""
    if not whole:
        return "the busy loops ended before what was measured under them"
    if abs(took - wanted) > TOLERANCE:
        return f"the busy loops were to take {wanted:.0%} of the processor and took {took:.0%}"
    return ""


@contextlib.contextmanager
def _process() -> Iterator[tuple[int, int]]:
    """The descriptors to write to and to read from."""
    if kept := os.environ.get(KEPT):
        write, read = map(int, kept.split(":"))
        yield write, read
        return
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("it was started with pipes")
        with process.stdin:
            yield process.stdin.fileno(), process.stdout.fileno()


def _ask(write: int, read: int, line: dict[str, Any]) -> dict[str, Any]:
    answer = b""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    with contextlib.suppress(BrokenPipeError):  # then it has ended, and the answer is empty
        os.write(write, json.dumps(line).encode() + b"\n")
        while not answer.endswith(b"\n"):
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([read], [], [], left_s)[0] or not (more := os.read(read, 4096)):
                break
            answer += more
    if not answer.endswith(b"\n"):
        raise LoopsFailed("the process of the busy loops did not answer: something has ended it; repeat the command")
    told: dict[str, Any] = json.loads(answer)
    if "error" in told:
        raise LoopsFailed(str(told["error"]))
    return told


def owed_s(share: float, since_s: float, used_s: float) -> float:
    """How long a loop runs in the period that comes: what it lacks for its share by the end of it, a period at most.

    `since_s`: time since the loop began; `used_s`: its processor time until now. Both in seconds.
    """
    return min(max(share * (since_s + PERIOD_S) - used_s, 0.0), PERIOD_S)


def _loop(share: float, core: int, until: float, parent: int) -> None:
    os.sched_setaffinity(0, {core})
    began, used_before_s = time.monotonic(), time.process_time()
    due = began
    while due < until and os.getppid() == parent:
        used_s = time.process_time()
        enough_s = used_s + owed_s(share, due - began, used_s - used_before_s)
        while time.process_time() < enough_s:
            pass
        due += PERIOD_S
        time.sleep(max(0.0, due - time.monotonic()))


def _start(share: float, core: int, until: float) -> int:
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        try:
            _loop(share, core, until, parent)
        finally:
            os._exit(0)
    return pid


def _run(share: float, cores: Sequence[int], seconds: float) -> None:
    began = time.monotonic()
    until = began + seconds
    loops = [_start(share, core, until) for core in cores]
    _tell({"loops": loops})
    sys.stdin.buffer.readline()
    ended = time.monotonic()
    for pid in loops:
        os.kill(pid, signal.SIGKILL)  # one that has ended by itself is there until it is waited for
    used = [os.wait4(pid, 0)[2] for pid in loops]
    processor_s = sum(each.ru_utime + each.ru_stime for each in used)
    _tell({"processor_s": processor_s, "seconds": ended - began, "whole": ended < until})


def _tell(line: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more: the end of the input comes next
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Runs loops, one order after the other, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the terminal is for who asked for the loops
    refused = False
    if os.sched_getscheduler(0) != os.SCHED_FIFO:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        except PermissionError:
            refused = True
    while line := sys.stdin.buffer.readline():
        if refused:
            _tell({"error": _REFUSED})
        else:
            _run(**json.loads(line))


if __name__ == "__main__":
    main()
