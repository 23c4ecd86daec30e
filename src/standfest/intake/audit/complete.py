"""Up to which ingest position nobody can write any more: the transactions that hold positions up to there have ended.

Known from looks (`Horizon`) whose reads were proven (`storage/proof.py`):

1. Whoever draws an ingest position has a transaction id by then: the barrier, which each claim of `intake/direct.py`
   sends first, takes one. Positions are drawn in order. So whoever holds a position up to the newest that a look shows
   had its id before that look.
2. The proof of a look is a commit whose id was taken after the look, so it is above all of those. It has ended when the
   look is over.
3. The next look shows one id past the highest that has ended (`pg_snapshot_xmax`). That is past the proof's, so above
   all of those as well, and it is the bound of the look before.
4. Once no transaction below the bound runs (`pg_snapshot_xmin`), all of those have ended.

A look's own `pg_snapshot_xmax` is no bound: ids above it are in use, by transactions that run, and where none with a
higher id has ended `pg_snapshot_xmin` is as high. A primary that took over has the proofs, and counts on from above
them. Of transactions that ran on the lost one it has those that committed, and no others.
"""

from collections import deque

from standfest.intake.audit.blocks import Horizon

_WAITING_MAX = 1_000


class Complete:
    """Counts from what looks show, one after the other."""

    def __init__(self) -> None:
        self.upto = -1
        """The highest ingest position that nobody can write at or below; -1: none is known."""
        self._last: Horizon | None = None
        self._waiting: deque[tuple[int, int]] = deque(maxlen=_WAITING_MAX)
        """Newest ingest position of a look, and its bound: a transaction id."""

    def forget(self) -> None:
        """Begins anew."""
        self.upto, self._last = -1, None
        self._waiting.clear()

    def saw(self, horizon: Horizon) -> None:
        """Takes in a look whose read was proven."""
        if self._last is not None and horizon.beyond_ended <= self._last.beyond_ended:
            self.forget()  # another history: these transactions never were, and positions may be drawn again
        if self._last is not None and (not self._waiting or self._last.newest > self._waiting[-1][0]):
            self._waiting.append((self._last.newest, horizon.beyond_ended))
        self._last = horizon
        while self._waiting and self._waiting[0][1] <= horizon.oldest_running:
            self.upto = max(self.upto, self._waiting.popleft()[0])
