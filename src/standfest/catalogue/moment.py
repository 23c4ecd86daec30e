"""A moment that can be kept in a file, and how long ago it was when a later process reads it."""

import time
from functools import cache
from pathlib import Path
from typing import Self

import msgspec

CLOCK_TOLERANCE_S = 60.0
"""A wall clock that was set back by less is taken for slow; beyond it nobody can say how old a moment is."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def now_s() -> float:
    """Seconds on a clock that nobody can set, and that runs on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Moment(msgspec.Struct, frozen=True):
    """A moment on two clocks: the machine's own, which starts anew when it boots, and the one on the wall."""

    boot_id: str
    """Of the machine's run that `boot_s` belongs to; empty where it is not known."""
    boot_s: float
    wall_s: float

    @classmethod
    def ago(cls, seconds: float) -> Self:
        """The moment so many seconds before now."""
        return cls(_boot_id(), now_s() - seconds, time.time() - seconds)

    def age_s(self, now: Self) -> float | None:
        """Seconds from this moment to `now`, or None where the clocks do not tell.

        While the machine has not booted since, its own clock is right whatever was done to the wall clock. After
        that there is only the wall clock: set back a little it makes the age 0, and set back by more than
        CLOCK_TOLERANCE_S the age may be anything, so it counts as unknown.
        """
        if self.boot_id and self.boot_id == now.boot_id and self.boot_s <= now.boot_s:
            return now.boot_s - self.boot_s
        age_s = now.wall_s - self.wall_s
        return max(age_s, 0.0) if age_s >= -CLOCK_TOLERANCE_S else None


@cache
def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # hidden in some containers; the wall clock is left
        return ""
