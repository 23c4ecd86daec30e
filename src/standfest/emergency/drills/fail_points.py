"""Letting a process of the cluster die at one of its fail points, with the proof that it died there.

A fail point is armed by a file and SIGUSR1 (see `standfest.telemetry.failpoints`).
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from standfest.cluster.home import write_private
from standfest.emergency.drills import processes
from standfest.emergency.drills.faults import FaultFailed, Target
from standfest.emergency.drills.processes import Process
from standfest.emergency.drills.stage import Stage
from standfest.emergency.drills.undoing import disarm
from standfest.telemetry.failpoints import FailPoint

DIES_WITHIN_S = 30.0
"""How long a process may take to reach a point that orders reach all the time."""


@contextlib.contextmanager
def armed(stage: Stage, target: Target, point: FailPoint) -> Iterator[None]:
    """In the block the process dies when it reaches the point; FaultFailed where it does not know fail points."""
    if not _catches(target.process, signal.SIGUSR1):
        raise FaultFailed(f"{target} has no fail points: SIGUSR1 would end it wherever it is, and prove nothing")
    file = _file(stage, target)
    with stage.undone(lambda: disarm(file, target.process), "fail-points", str(file), str(target.process)):
        write_private(file, f"{point}\n")
        processes.send(target.process, signal.SIGUSR1)
        yield


async def died(*targets: Target) -> None:
    """Waits until the armed processes are gone; FaultFailed where one lives on."""
    for target in targets:
        if not await asyncio.to_thread(processes.wait_gone, target.process, DIES_WITHIN_S):
            raise FaultFailed(f"{target} did not reach its fail point within {DIES_WITHIN_S:.0f} s")


def _file(stage: Stage, target: Target) -> Path:
    cluster = stage.cluster
    return cluster.node_home(cluster.topology.node(target.node)).run / "failpoints"


def _catches(process: Process, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal: SigCgt in /proc/PID/status."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return processes.is_running(process) and bool(int(caught, 16) >> (number - 1) & 1)
