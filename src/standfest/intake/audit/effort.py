"""How much of the machine a piece of work took, as a measure of how long to rest after it: the audit comes last.

Where processors are short, a process of low priority waits for one much longer than it computes. That time counts as
well, up to a bound: on a busy machine the audit takes a smaller share, and still goes on.
"""

import time
from pathlib import Path

WAITED_MAX = 3.0
"""Waiting counts up to so many times the processor time."""
_SCHEDSTAT = Path("/proc/self/schedstat")


class Effort:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._computed_s, self._waited_s = time.process_time(), _waited_s()

    @property
    def seconds(self) -> float:
        """Processor time of this process since, and the time that its main thread waited for a processor, bounded."""
        return effort_s(time.process_time() - self._computed_s, _waited_s() - self._waited_s)


def effort_s(computed_s: float, waited_s: float) -> float:
    """What counts of so much processor time and so much waiting."""
    return computed_s + min(max(waited_s, 0.0), WAITED_MAX * computed_s)


def _waited_s() -> float:
    """How long the main thread has waited for a processor while it could run; 0 where the kernel does not count it.

    The second number, in ns: https://docs.kernel.org/scheduler/sched-stats.html
    """
    try:
        return int(_SCHEDSTAT.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
