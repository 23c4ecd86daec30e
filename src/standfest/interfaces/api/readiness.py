"""Whether this process wants traffic: it does not while it drains, its event loop is late, or it can do nothing.

A dependency that is away is no reason, as all processes have the same: the doors would be left with none. Where a
process is cut off from database and journal alike it can answer nothing, and another one perhaps can. The doors use
those that are not ready all the same where none is (docs/decisions/0009).

The loop is watched from a thread: code that blocks the loop cannot hide it from there, and the log says
where it is stuck.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable

import structlog

BEAT_INTERVAL_S = 0.25
"""So often the loop is asked to answer."""
LATE_INTERVAL_S = 0.05
"""So often while it is late: a process that was frozen, and one that has caught up, is back in rotation at once."""
STUCK_AFTER_S = 2.0
"""A loop that has not answered for so long is reported with the place where it hangs."""

_log = structlog.get_logger(__name__)


class Readiness:
    """What /readyz answers. `watch` and `stop` run in the event loop that is watched."""

    def __init__(
        self, lag_max_s: float, starting: Callable[[], bool], cut_off: Callable[[], bool] = lambda: False
    ) -> None:
        """
        Args:
            lag_max_s: seconds that the loop may be late.
            starting: whether the process has not yet got together what it answers from. It is asked until it says no,
                and never again: what is lost later is for each request to find out, and takes nobody from the doors.
            cut_off: whether the process has had neither database nor journal for a while.
        """
        self.draining = False
        self._cut_off = cut_off
        self._starting: Callable[[], bool] | None = starting
        self._lag_max_s = lag_max_s
        self._lag_s = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lag_s(self) -> float:
        """How late the event loop answered last time, in seconds."""
        return self._lag_s

    @property
    def reason(self) -> str | None:
        """Why no traffic is wanted, or None where it is."""
        if self.draining:
            return "draining"
        if self._starting is not None and self._starting():
            return "starting"
        self._starting = None
        if self._cut_off():
            return "cut off from database and journal"
        if self._late:
            return f"the event loop is {self._lag_s:.1f} s late"
        return None

    @property
    def _late(self) -> bool:
        return self._lag_s > self._lag_max_s

    def watch(self) -> None:
        """Begins to watch the running event loop."""
        arguments = (asyncio.get_running_loop(), threading.get_ident())
        self._thread = threading.Thread(target=self._run, args=arguments, name="loop-watch", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ends the watching."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, STUCK_AFTER_S)

    def _run(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        while not self._stopping.wait(LATE_INTERVAL_S if self._late else BEAT_INTERVAL_S):
            answered = threading.Event()
            asked_at = time.monotonic()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop is closed
                return
            self._await_beat(answered, asked_at, thread_id)

    def _await_beat(self, answered: threading.Event, asked_at: float, thread_id: int) -> None:
        reported = False
        while not answered.wait(BEAT_INTERVAL_S):
            self._lag_s = time.monotonic() - asked_at
            if self._stopping.is_set():
                return
            if self._lag_s > STUCK_AFTER_S and not reported:
                reported = True
                frame = sys._current_frames().get(thread_id)
                place = "".join(traceback.format_stack(frame)[-8:]) if frame else "unknown"
                _log.error("event_loop_stuck", lag_s=round(self._lag_s, 2), place=place)
        self._lag_s = time.monotonic() - asked_at
