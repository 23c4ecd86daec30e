"""When one process takes the direct path: it leaves it when the database is away or others wait for too long in the
journal, and finds the way back. The decisions are in `paths.py`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec
import psycopg
import structlog

from standfest.domain.synthetic import trial_order
from standfest.errors import StandfestError
from standfest.intake.backlog_view import BacklogView
from standfest.intake.commit_times import CommitTimes
from standfest.intake.demand import Demand
from standfest.intake.direct import Earlier, try_out
from standfest.intake.journal import Journal
from standfest.intake.paths import LOOK_DIRECT_S, Path, Sight, drainers_stand, is_old, look_again_s, next_path
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown, PoolBusy, StatementFailed, TryAgain
from standfest.telemetry.failures import facts_of

STAY_S, REST_FIRST_S, REST_MAX_S = 10.0, 0.5, 8.0
"""Who leaves the direct path again within STAY_S waits longer for the next way back: a slow machine is not kept busy by
orders that are tried on both paths."""
PROBE_FIRST_S, PROBE_MAX_S = 0.5, 4.0
"""How long a probe waits for its commit: longer after each that was given up, as that one waits on in the server, and
never shorter than what is no silence at present."""
TRY_OUT_INTERVAL_S = 1.0
"""Where an order fails for what may be its own fault, it is found out so often at most whether every one would."""

_log = structlog.get_logger(__name__)


class Turned(DatabaseUnavailable):
    """The order had not left when the direct path was left."""


class BacklogOld(StandfestError):
    """Orders that were accepted earlier have waited in the journal for too long to be overtaken."""


class DirectPath:
    """Whether the direct path is taken. `run` has to run as long as orders are taken."""

    def __init__(self, database: Database, journal: Journal, turn_away: Callable[[Turned], None]) -> None:
        """`turn_away`: sends to the journal what waits for the direct path."""
        self._database = database
        self._journal = journal
        self._turn_away = turn_away
        self._away = asyncio.Event()
        self._database_away = False
        self._tried_out_at = -TRY_OUT_INTERVAL_S
        self._probe_refused = False
        self._rest_s = 0.0
        self.commits = CommitTimes(time.monotonic())
        """Of this process."""
        self.backlog = BacklogView(journal)
        self.back_at = time.monotonic()
        """When the way back was last found; monotonic seconds."""
        self.turns = 0
        """How often it was left."""
        self.committed_at = float("-inf")
        """When something of this process last was durable in the database, probes included; monotonic seconds."""

    @property
    def path(self) -> Path:
        """The way that new orders take now."""
        return Path.JOURNAL if self._away.is_set() else Path.DIRECT

    @property
    def database_away(self) -> bool:
        """Whether the database was found to be away, and has not answered since. Orders may go by the journal for
        others' sake while it is there.
        """
        return self._away.is_set() and self._database_away

    @property
    def silence_max_s(self) -> float:
        """A direct attempt is given up after so long without a durable commit in this process."""
        return self.commits.silence_max_s(time.monotonic())

    @property
    def attempt_max_s(self) -> float:
        """A direct attempt is given up after so long whatever else is committed."""
        return self.commits.attempt_max_s(time.monotonic())

    def committed(self, began: float) -> None:
        """Notes that what was sent at `began` (monotonic seconds) is durable."""
        self.committed_at = now = time.monotonic()
        self.commits.note(now - began, now)

    def leave(self, error: Exception) -> None:
        """Leaves the direct path; what waits for it goes to the journal at once."""
        self._database_away = not isinstance(error, BacklogOld)
        if not self._away.is_set():
            self.turns += 1
            _log.warning("direct_path_left", **facts_of(error))
            self._away.set()
        self._turn_away(Turned("new orders go by the journal now"))

    def earlier(self) -> Earlier:
        """Who waits in the journal, for those who take the direct path now."""
        return Earlier(self._within_reach(self.backlog.demand), self._ask)

    async def refuses_all(self) -> bool:
        """Whether a synthetic order fails, too; False where that was asked a moment ago, or says nothing."""
        now = time.monotonic()
        if now - self._tried_out_at < TRY_OUT_INTERVAL_S:
            return False
        self._tried_out_at = now
        try:
            await try_out(self._database, trial_order(), Deadline.after(self.attempt_max_s))
        except (TryAgain, PoolBusy):
            return False
        except (DatabaseUnavailable, OutcomeUnknown, psycopg.Error):
            return True
        return False

    async def run(self) -> None:
        """Leaves the direct path for those who wait, and goes back when that is right, until it is cancelled."""
        while True:
            await self._stay()
            stayed_s = time.monotonic() - self.back_at
            self._rest_s = 0.0 if stayed_s > STAY_S else min(max(2 * self._rest_s, REST_FIRST_S), REST_MAX_S)
            await self._until_back()
            self.back_at = time.monotonic()
            self._away.clear()
            _log.info("direct_path_again", rested_s=self._rest_s)

    @property
    def _passes_them(self) -> bool:
        """Whether new orders go past those who wait, however long they do."""
        return drainers_stand(self.backlog.standing_s)

    async def _ask(self) -> Demand:
        return self._within_reach(await self.backlog.ask())

    def _within_reach(self, demand: Demand) -> Demand:
        """What has to be left to those who wait: where the drainers stand still, or the journal takes nobody, only what
        is known to be wanted. What unread entries may want would be all there is, and nobody could be put behind them.
        """
        return msgspec.structs.replace(demand, unread=0) if self._passes_them or self._journal.full else demand

    async def _stay(self) -> None:
        """Looks at the journal now and then, until the direct path is left."""
        while not self._away.is_set():
            age_s = await self.backlog.age_s()
            old = is_old(age_s, journal_full=self._journal.full)
            if old and not self._passes_them and not self._away.is_set():
                self.leave(BacklogOld(f"orders may wait in the journal for {age_s:.1f} s: new ones go behind them"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_DIRECT_S):
                    await self._away.wait()

    async def _until_back(self) -> None:
        """Probes the database, one probe at a time, until the direct path can be taken again."""
        answering_since: float | None = None
        deadline_s = self._probe_first_s()
        while True:
            began, silence_max_s = time.monotonic(), self.silence_max_s
            self._database_away = not await self._database_answers(deadline_s)
            if not self._database_away:
                self.committed(began)
                quick = time.monotonic() - began < silence_max_s
                answering_since = (answering_since or began) if quick else None
                deadline_s = self._probe_first_s()
            else:
                answering_since = None
                deadline_s = min(2 * deadline_s, PROBE_MAX_S)
            sight = await self._look(answering_since)
            if next_path(sight) is Path.DIRECT:
                return
            await asyncio.sleep(look_again_s(sight))

    def _probe_first_s(self) -> float:
        return min(max(PROBE_FIRST_S, self.silence_max_s), PROBE_MAX_S)

    async def _database_answers(self, deadline_s: float) -> bool:
        try:
            await try_out(self._database, trial_order(), Deadline.after(deadline_s))
        except (StatementFailed, psycopg.Error) as error:
            if not self._probe_refused:
                _log.error("every_order_refused", **facts_of(error))
            self._probe_refused = True
            return False
        except (DatabaseUnavailable, OutcomeUnknown):
            return False  # `leave` said so; `turns` and the path are shown
        self._probe_refused = False
        return True

    async def _look(self, answering_since: float | None) -> Sight:
        answering_s = None if answering_since is None else time.monotonic() - answering_since
        age_s = None if answering_s is None else await self.backlog.age_at_most_s()
        return Sight(answering_s, self._rest_s, age_s, self._journal.full, self.backlog.standing_s)
