"""Times in which receipts may have been lost, kept over restarts of the audit: orders accepted then may have none."""

from bisect import bisect_right, insort
from collections.abc import Iterable

import msgspec

WINDOWS_MAX = 4_096
"""Windows that are kept, those that overlap counted as one; of more the oldest are forgotten. One lasts 15 s at least:
so many are 17 h of losses with no two of them at once."""


class Window(msgspec.Struct, frozen=True, order=True):
    """A time in which receipts may have been lost, in seconds since 1970, both ends included."""

    since: float
    until: float

    def covers(self, at: float) -> bool:
        """Whether a moment lies in it."""
        return self.since <= at <= self.until


class Windows:
    """Windows that do not overlap, oldest first."""

    def __init__(self, kept: Iterable[Window] = ()) -> None:
        self._windows: list[Window] = []
        for window in kept:
            self.add(window)

    def add(self, window: Window) -> None:
        """Takes a window over; it becomes one with those that it overlaps or touches."""
        apart: list[Window] = []
        for each in self._windows:
            if each.until < window.since or window.until < each.since:
                apart.append(each)
            else:
                window = Window(min(each.since, window.since), max(each.until, window.until))
        insort(apart, window)
        self._windows = apart[-WINDOWS_MAX:]

    def covers(self, at: float) -> bool:
        """Whether receipts of orders that were accepted at a moment may have been lost."""
        before = bisect_right(self._windows, at, key=lambda window: window.since)
        return before > 0 and self._windows[before - 1].covers(at)

    def kept(self) -> list[Window]:
        """All of them, to be kept on disk."""
        return list(self._windows)
