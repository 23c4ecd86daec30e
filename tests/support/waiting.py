"""Waiting for what nobody tells: conditions, and processes that stand still."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

FREEZE_TIMEOUT_S = 10.0
PATIENCE = 4.0
"""What tests wait for may take so many times as long as they say: they measure no speed, also where the machine is slow
or others use it."""


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Poll `condition` every 20 ms; TimeoutError naming `what` when it does not hold within PATIENCE x `timeout_s`."""
    deadline = time.monotonic() + PATIENCE * timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {PATIENCE * timeout_s:g} s")
        time.sleep(0.02)


def freeze(pids: Iterable[int]) -> None:
    """SIGSTOP, in this order, and wait until they stand: a thread has to run before the others of its process hear of
    it, and on a busy machine those may have answered somebody by then."""
    frozen = list(pids)
    for pid in frozen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in frozen:
        wait_until(lambda pid=pid: _stands(pid), f"process {pid} standing still", FREEZE_TIMEOUT_S)  # type: ignore[misc]


def _stands(pid: int) -> bool:
    """Whether none of its threads runs, or there are none."""
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if status.read_text().rpartition(")")[2].split()[0] not in "TZX":
                return False
    return True
