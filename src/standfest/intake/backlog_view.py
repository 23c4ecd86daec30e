"""What an API process sees of those who wait in the journal: for how long, and what they want."""

import datetime
import time

import msgspec
import structlog

from standfest.clients.etcd_kv import EtcdError
from standfest.errors import StandfestError
from standfest.intake.backlog_age import BacklogAge
from standfest.intake.demand import UNKNOWN_ENTRIES, Demand
from standfest.intake.journal import LOOK_ENTRIES_MAX, Journal
from standfest.intake.paths import BACKLOG_AGE_MAX_S
from standfest.telemetry.failures import facts_of

_LOOK_DEADLINE_S = 1.0
LATE_S = 2.0
"""A journal that took orders so long ago at most is not away: a synthetic one comes each second."""
_ASK_DEADLINE_S = 0.15  # a batch waits for it, with stock locked
_ASK_ENTRIES_MAX = 100

_log = structlog.get_logger(__name__)


class BacklogView:
    """One process's view."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._ages = BacklogAge()
        self._tells = False
        self._seen: tuple[float, float] | None = None
        """The age that the last look which succeeded showed, and when."""
        self._count = 0
        """Entries that it showed."""
        self.demand = Demand()
        """What those want who wait, as of the last look."""
        self._drained: object = None
        self._moved_at = time.monotonic()
        """When nothing was seen to wait, or something to have been drained."""

    @property
    def standing_s(self) -> float:
        """For so many seconds, until the last look that succeeded, nothing of what waits was seen to be drained."""
        return max(self._seen[1] - self._moved_at, 0.0) if self._seen else 0.0

    async def age_s(self, read_max: int = LOOK_ENTRIES_MAX) -> float | None:
        """How long the oldest order in the journal has waited at most; None where the journal does not tell.

        `read_max`: so many entries are read for what they want, and whether they are synthetic.
        """
        asked_at = time.monotonic()
        backlog = None
        try:
            backlog = await self._journal.backlog(_LOOK_DEADLINE_S, read_max=read_max)
        except EtcdError:
            pass  # the journal does not tell: that is what None says
        except (StandfestError, msgspec.MsgspecError) as error:
            _log.error("backlog_not_read", **facts_of(error))
        self._tells = backlog is not None
        if backlog is None:
            if not self._is_late:
                self.demand = Demand()
            return None
        self.demand, self._count = backlog.demand, backlog.count
        age_s = self._ages.learn(backlog, asked_at, time.monotonic())
        if backlog.drained_revision is None:  # the release before drains: it says by the wall clock how far it came
            age_s = min(age_s, backlog.age_s(datetime.datetime.now(datetime.UTC)))
        self._seen = age_s, time.monotonic()
        drained = backlog.drained_revision, backlog.accepted_at
        if not backlog.count or drained != self._drained:
            self._drained, self._moved_at = drained, self._seen[1]
        return age_s

    async def age_at_most_s(self) -> float | None:
        """As `age_s`, for a process on the journal path. Where a look fails and the journal took orders a moment ago,
        it is only late: those who waited wait on. None where it is away.

        What those who wait want is read only once they are few, or young enough for new orders to go directly.
        """
        was_old = self._seen is not None and self._many_are_old(self._seen[0])
        age_s = await self.age_s(0 if was_old else LOOK_ENTRIES_MAX)
        if was_old and age_s is not None and not self._many_are_old(age_s):
            age_s = await self.age_s()
        if age_s is not None or self._seen is None or not self._is_late:
            return age_s
        seen_s, at = self._seen
        return seen_s + time.monotonic() - at

    @property
    def _is_late(self) -> bool:
        """Whether the journal took orders a moment ago: where it does not answer now it is not away."""
        return time.monotonic() - self._journal.accepted_at <= LATE_S

    def _many_are_old(self, age_s: float) -> bool:
        return age_s >= BACKLOG_AGE_MAX_S and self._count > LOOK_ENTRIES_MAX

    async def ask(self) -> Demand:
        """What those want who wait now, for certain.

        Where the journal does not tell in time, and did so a moment ago or took orders, all that is scarce: the order
        goes there itself. Where it is away nothing is held: nobody can be put behind others there.
        """
        try:
            backlog = await self._journal.backlog(_ASK_DEADLINE_S, certain=True, read_max=_ASK_ENTRIES_MAX)
        except (StandfestError, msgspec.MsgspecError) as error:
            if not isinstance(error, EtcdError):
                _log.error("backlog_not_read", **facts_of(error))
            return Demand(unread=UNKNOWN_ENTRIES) if self._tells or self._is_late else Demand()
        return backlog.demand
