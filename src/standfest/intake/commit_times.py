"""How long commits take at present on this machine, and what waits follow from it. Pure.

A commit time is measured from when a batch is sent until it is durable on a named standby. The slowest of the last
seconds says for how long a database that is only slow may be silent; their mean says how far apart batches leave, and
how late an order may be that goes in company. An attempt that was given up says nothing of how long it would have taken
(Karn's rule, RFC 6298, section 3): the probes of the way back do, which wait longer each time.
"""

SILENCE_MIN_S, SILENCE_MAX_S = 0.3, 2.0
"""A direct attempt is given up after so long without a durable commit in this process: on a quick machine a database
that is away is noticed after the first; after the second an order that has 4 s has time left for the journal."""
ATTEMPT_MIN_S, ATTEMPT_MAX_S = 1.0, 2.5
"""And after so long whatever else is committed."""
GATHER_MIN_S, GATHER_MAX_S = 0.008, 0.05
"""In company orders leave so far apart, to be fewer batches: where little is sent, each costs more than its orders."""
SPACING_MIN_S, SPACING_MAX_S = 0.01, 0.1
"""A second batch leaves so long after one that is in the air: usually that one lands before."""
_SILENCE_COMMITS, _ATTEMPT_COMMITS = 2.0, 3.0  # times the slowest commit
_GATHER_COMMITS, _SPACING_COMMITS = 1.0, 2.0  # times the mean commit
_SPAN_S = 10.0
"""The slowest commit is remembered for one to two such spans. Where nothing was committed since, the mean of the last
commits counts: what the machine usually does, and not what once happened."""
_UNKNOWN_S = 1.0
"""The silence while nothing was committed yet: the machine may be a slow one."""
_OF_THE_NEWEST = 0.1
"""A commit's share in the mean, which forgets the others by and by."""


class CommitTimes:
    """The commit times of one process; times of day are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._slowest = [0.0, 0.0]
        """Of the span before, and of this one."""
        self.mean_s = 0.0
        """Of the last commits; 0 where there was none yet."""

    def note(self, seconds: float, now: float) -> None:
        """A commit took so long."""
        self._turn(now)
        self._slowest[1] = max(self._slowest[1], seconds)
        self.mean_s += _OF_THE_NEWEST * (seconds - self.mean_s) if self.mean_s else seconds

    @property
    def gather_s(self) -> float:
        """How far apart batches leave where none is in the air: what takes long anyway had better be one batch."""
        return min(max(_GATHER_COMMITS * self.mean_s, GATHER_MIN_S), GATHER_MAX_S)

    @property
    def spacing_s(self) -> float:
        """How long after one that is in the air another batch leaves."""
        return min(max(_SPACING_COMMITS * self.mean_s, SPACING_MIN_S), SPACING_MAX_S)

    def silence_max_s(self, now: float) -> float:
        """For how long the database may be silent before it counts as away."""
        slowest_s = self._slowest_s(now)
        return min(max(_SILENCE_COMMITS * slowest_s, SILENCE_MIN_S), SILENCE_MAX_S) if slowest_s else _UNKNOWN_S

    def attempt_max_s(self, now: float) -> float:
        """For how long a direct attempt may last."""
        slowest_s = self._slowest_s(now)
        return min(max(_ATTEMPT_COMMITS * slowest_s, ATTEMPT_MIN_S), ATTEMPT_MAX_S) if slowest_s else ATTEMPT_MAX_S

    def _slowest_s(self, now: float) -> float:
        self._turn(now)
        return max(self._slowest) or self.mean_s

    def _turn(self, now: float) -> None:
        spans = int((now - self._began) / _SPAN_S)
        if spans:
            self._began += spans * _SPAN_S
            self._slowest = [self._slowest[1] if spans == 1 else 0.0, 0.0]
