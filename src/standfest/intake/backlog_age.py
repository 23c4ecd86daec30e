"""How long the oldest entry of the journal has waited, at most: measured by this process's own clock alone.

Nodes' clocks differ, so the time at which an order was accepted elsewhere says nothing here. etcd's revision only
grows: a look notes it with the moment at which it was asked for, and drainers write up to which creation revision all
is drained. What waits was created later than that, and so after the last look that saw no later revision.
"""

from collections import deque

from standfest.intake.journal import Backlog

_LOOKS_MAX = 600


class BacklogAge:
    """One process's looks at the journal."""

    def __init__(self) -> None:
        self._looks: deque[tuple[int, float]] = deque(maxlen=_LOOKS_MAX)
        self._empty_at = 0

    def learn(self, backlog: Backlog, asked_at: float, now: float) -> float:
        """Seconds that the oldest order has waited at most; 0 where none waits, infinite where that is not known.

        What was left aside does not count: it waits for goods that somebody holds, or for a later release.

        Synthetic orders do not count: where all is slow they wait as well, and that alone is no reason to send every
        order by the journal, which would make it slower.

        Args:
            backlog: what was seen.
            asked_at: when it was asked for, and `now`: monotonic seconds.
        """
        if self._looks and backlog.revision < self._looks[-1][0]:  # another store, or an answer from the past
            self._looks.clear()
            self._empty_at = 0
        if self._looks and backlog.revision == self._looks[-1][0]:
            self._looks.pop()
        self._looks.append((backlog.revision, asked_at))
        if backlog.count <= backlog.synthetic + backlog.aside:
            self._empty_at = backlog.revision
            return 0.0
        drained = max(backlog.drained_revision or 0, self._empty_at)
        while len(self._looks) > 1 and self._looks[1][0] <= drained:
            self._looks.popleft()
        revision, at = self._looks[0]
        return now - at if revision <= drained else float("inf")
