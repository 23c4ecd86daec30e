"""How long commits take at present on this machine, and what waits follow from it. Pure.

A commit time is measured from when a batch is sent until it is durable on a named standby. The slowest of the last
seconds says for how long a database that is only slow may be silent; the quickest says what a commit costs where
nothing stands before it. An attempt that was given up says nothing of how long it would have taken (Karn's rule,
RFC 6298, section 3): the probes of the way back do, which wait longer each time.
"""

SILENCE_MIN_S, SILENCE_MAX_S = 0.3, 2.0
"""A direct attempt is given up after so long without a durable commit in this process: on a quick machine a database
that is away is noticed after the first; after the second an order that has 4 s has time left for the journal."""
ATTEMPT_MIN_S, ATTEMPT_MAX_S = 1.0, 2.5
"""And after so long whatever else is committed."""
_SILENCE_COMMITS, _ATTEMPT_COMMITS = 2.0, 3.0  # times the slowest commit
_SPAN_S = 10.0
"""A commit is remembered for one to two such spans."""


class CommitTimes:
    """The commit times of one process; times of day are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._quickest: list[float | None] = [None, None]
        """Of the span before, and of this one."""
        self._slowest = [0.0, 0.0]

    def note(self, seconds: float, now: float) -> None:
        """A commit took so long."""
        self._turn(now)
        quickest = self._quickest[1]
        self._quickest[1] = seconds if quickest is None else min(quickest, seconds)
        self._slowest[1] = max(self._slowest[1], seconds)

    def quickest_s(self, now: float) -> float:
        """The quickest of the last seconds; 0 where there was none."""
        self._turn(now)
        return min((each for each in self._quickest if each is not None), default=0.0)

    def silence_max_s(self, now: float) -> float:
        """For how long the database may be silent before it counts as away."""
        self._turn(now)
        return min(max(_SILENCE_COMMITS * max(self._slowest), SILENCE_MIN_S), SILENCE_MAX_S)

    def attempt_max_s(self, now: float) -> float:
        """For how long a direct attempt may last."""
        self._turn(now)
        return min(max(_ATTEMPT_COMMITS * max(self._slowest), ATTEMPT_MIN_S), ATTEMPT_MAX_S)

    def _turn(self, now: float) -> None:
        spans = int((now - self._began) / _SPAN_S)
        if spans:
            self._began += spans * _SPAN_S
            self._quickest = [self._quickest[1] if spans == 1 else None, None]
            self._slowest = [self._slowest[1] if spans == 1 else 0.0, 0.0]
