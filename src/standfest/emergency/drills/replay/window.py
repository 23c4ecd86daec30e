"""How many requests a considerate client has under way: as many as the cluster answers, at most so many.

Whoever is told to come back later and only repeats that one request keeps the cluster as busy as before; large orders,
which meet everybody else's, then find no moment. So trouble halves the window, and answers widen it again by about one
a window of them (additive increase, multiplicative decrease, as TCP does).
"""

import asyncio
from collections import deque
from types import TracebackType

from standfest.clients.attempts import Verdict

HALVED_AT_MOST_EVERY_S = 0.5
"""Requests of one crowd all report the same trouble: it counts once."""


class Window:
    """An async context manager around each request; reports about attempts change its size."""

    def __init__(self, highest: int) -> None:
        self._highest = highest
        self._size = float(highest)
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._halved_at = float("-inf")

    @property
    def size(self) -> int:
        """How many may be under way now, 1 or more."""
        return int(self._size)

    def report(self, verdict: Verdict | None, now: float) -> None:
        """An attempt ended with this verdict, or without an answer (None); `now` in monotonic seconds."""
        if verdict in (Verdict.DONE, Verdict.REFUSED):
            self._size = min(self._size + 1.0 / self._size, float(self._highest))
            self._admit()
        elif now - self._halved_at >= HALVED_AT_MOST_EVERY_S:
            self._size = max(self._size / 2.0, 1.0)
            self._halved_at = now

    async def __aenter__(self) -> None:
        if self._inside < self.size and not self._waiting:
            self._inside += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._inside < self.size:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._inside += 1
                turn.set_result(None)
