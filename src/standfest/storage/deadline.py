"""Deadlines on a clock that nobody can set, and that runs on while the process or the machine stands still."""

import asyncio
import contextlib
import time
from typing import Self


def now_s() -> float:
    """Seconds on the clock of deadlines: CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Deadline:
    """A moment after which nothing more is sent."""

    __slots__ = ("_at",)

    def __init__(self, at: float) -> None:
        """`at`: on the clock of `now_s`."""
        self._at = at

    @classmethod
    def after(cls, seconds: float) -> Self:
        """The moment `seconds` from now."""
        return cls(now_s() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds left; negative when it has passed."""
        return self._at - now_s()

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining_s <= 0


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Waits so many seconds, or until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
