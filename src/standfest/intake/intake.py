"""The intake of one process: the direct path, and the journal where that is not taken (`direct_path.py`).

A process on the direct path looks at the journal, too: where others' orders wait there for too long, or want the goods
that are left, it goes behind them.

Every order has one deadline. It goes to the journal where the direct path is known to be away, refuses, or does not
answer within its budget; on either path it has the same identity, so that both may succeed and it is one order.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec
import psycopg
import structlog

from standfest.clients.etcd_kv import EtcdError, EtcdOutcomeUnknown, EtcdUnavailable
from standfest.domain.orders import Order
from standfest.errors import StandfestError
from standfest.intake.batches import Batches
from standfest.intake.commit_times import CommitTimes
from standfest.intake.concurrency import ConcurrencyLimit, wanted_delay_s
from standfest.intake.direct import Behind, Outcome, Placement, find_placed, place_behind
from standfest.intake.direct_path import DirectPath, Turned
from standfest.intake.entries import ENTRY_BYTES_MAX, EntryBroken, EntryTooNew, entry_bytes
from standfest.intake.errors import (
    IntakeOutcomeUnknown,
    IntakeUnavailable,
    JournalFull,
    KeyReused,
    Overloaded,
)
from standfest.intake.journal import ORDERS_PER_TXN_MAX, Accepted, Journal, JournalBroken, Unclear
from standfest.intake.locks import HELD, LOCK_WAIT_MS, Held, Placed, StockLocks, patience_s
from standfest.intake.paths import Path
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown, PoolBusy, TryAgain, is_perhaps_ones_own
from standfest.storage.promptness import PROMPT_S, Promptness
from standfest.telemetry.failpoints import reach
from standfest.telemetry.failures import facts_of

DIRECT_ORDERS_MAX, DIRECT_LINES_MAX = 64, 4_096
"""In one batch; with every text as long as it may be, so many lines are 20 MiB."""
CUT_OFF_S = 5.0
"""A process is cut off once nothing was durable for so long, synthetic orders included."""
CLIENTS_SHARE_MAX = 0.75
"""So much of what a process holds is one client's at most: one that sends without end leaves room for the others."""
DIRECT_FLIGHTS = 2
"""Batches in the air at once, each on a connection of its own."""
LOOKUPS_MAX = 2
"""Orders that are looked up at a time, as their key was used before."""
LOCK_WAIT_OF_SILENCE_MAX = 0.75
"""A batch waits for a locked row for so much, at most, of the silence after which the database counts as away."""
HELD_SPACING_S = 0.05
"""Between two looks whether stock that others hold locked is free."""
HELD_MAX = 32
"""Orders that wait for locked stock: the places of an API process are for orders that can be placed."""
HELD_ALONE_S = 1.0
"""They wait no longer than this where nothing else is committed meanwhile: perhaps nothing can be."""
HELD_REST_S = 1.5
"""So much of its time an order keeps for the journal."""
JOURNAL_FLIGHTS = 2
"""Few, so that what arrives meanwhile shares the next one: a transaction with ten orders costs etcd little more."""
JOURNAL_SPACING_MIN_S, JOURNAL_SPACING_MAX_S = 0.06, 0.25
"""Between two departures, for the same reason, about as long as a transaction takes at present: where all is slow
there are fewer of them. An order that comes alone leaves at once."""
JOURNAL_MAX_S = 3.0
"""The journal elects a leader in less; where it does not answer, the database may be there again."""
_UNCLEAR = (OutcomeUnknown, EtcdOutcomeUnknown, EntryTooNew, EntryBroken, JournalBroken)
"""Failures that leave open whether the order is there."""

Answer = TypeVar("Answer")
_log = structlog.get_logger(__name__)


class Intake:
    """Takes orders. `run` watches for the way back and has to run as long as orders are taken."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        *,
        deadline_s: float,
        under_way_max: int,
        lookups: Database | None = None,
    ) -> None:
        """
        Args:
            database: where orders go; a pool of their own with DIRECT_FLIGHTS connections and one for orders that wait
                for locked stock, and for the probe.
            journal: where they go while it is away.
            lookups: another pool to the same, so that whoever looks up what became of an order takes no flight's
                connection; None: the same pool.
            deadline_s: seconds after which an order is answered, whatever is known by then.
            under_way_max: so many orders at once at most; fewer where they could not be answered in time.
        """
        self._database = database
        self._lookups = lookups or database
        self._looking_up = asyncio.Semaphore(LOOKUPS_MAX)
        self._journal = journal
        self._deadline_s = deadline_s
        self._limit = ConcurrencyLimit(under_way_max)
        self._under_way: Counter[UUID] = Counter()
        self.on_both_paths = 0
        """Orders that were tried on one path and then sent on the other one too."""
        self._placing: dict[object, Order] = {}
        self._first: dict[UUID, object] = {}
        """Who came first of the callers that want the same order."""
        self._journal_times = CommitTimes(time.monotonic())
        self._journal_promptness = Promptness()
        self._durable_at = float("-inf")
        self._way = DirectPath(database, journal, self._turn_away)
        self._locks = StockLocks(database, lambda: self._way.silence_max_s, self._place_behind)
        self._direct: Batches[Placed] = Batches(
            self._fly_direct,
            everybodys=_concerns_the_direct_path,
            weigh=lambda order: len(order.lines),
            orders_max=DIRECT_ORDERS_MAX,
            weight_max=DIRECT_LINES_MAX,
            flights_max=DIRECT_FLIGHTS,
            spacing_s=lambda: self._way.commits.spacing_s,
            gather_s=lambda: self._way.commits.gather_s,
        )
        self._beside: Batches[Placed] = Batches(
            self._fly_beside,
            everybodys=_concerns_the_direct_path,
            weigh=lambda order: len(order.lines),
            orders_max=DIRECT_ORDERS_MAX,
            weight_max=DIRECT_LINES_MAX,
            flights_max=1,
            spacing_s=lambda: HELD_SPACING_S,
        )
        self._accepting: Batches[Accepted | KeyReused | Unclear] = Batches(
            self._fly_journal,
            everybodys=lambda error: isinstance(error, (EtcdUnavailable, EtcdOutcomeUnknown, JournalFull)),
            weigh=entry_bytes,
            orders_max=ORDERS_PER_TXN_MAX,
            weight_max=ENTRY_BYTES_MAX,
            flights_max=JOURNAL_FLIGHTS,
            spacing_s=lambda: min(max(self._journal_times.mean_s, JOURNAL_SPACING_MIN_S), JOURNAL_SPACING_MAX_S),
        )

    @property
    def path(self) -> Path:
        """The way that new orders take now."""
        return self._way.path

    @property
    def database_away(self) -> bool:
        """Whether the database was found to be away, and has not answered since."""
        return self._way.database_away

    @property
    def turns(self) -> int:
        """How often the direct path was left."""
        return self._way.turns

    @property
    def durable_for_s(self) -> float:
        """Seconds since anything was durable, on either path, probes and synthetic orders included; infinite before."""
        return time.monotonic() - max(self._durable_at, self._way.committed_at)

    @property
    def under_way(self) -> int:
        """Orders that are not answered yet."""
        return len(self._placing)

    @property
    def limit(self) -> int:
        """Orders that may be under way; see `concurrency.py`."""
        return self._limit.limit

    @property
    def silence_max_s(self) -> float:
        """For how long the database may be silent before orders go by the journal; see `commit_times.py`."""
        return self._way.silence_max_s

    def require_room(self, client_id: UUID) -> None:
        """Says that one more order of this client can be placed now, before it costs anything.

        Raises:
            Overloaded: nothing was attempted.
            IntakeUnavailable: the same, as neither database nor journal answers in time. Synthetic orders and probes
                find out when they do: a customer's order would wait for its deadline.
        """
        if self._database.given_up and self._journal_promptness.given_up(time.monotonic()):
            if self._journal.full:
                raise JournalFull(
                    "the database is away, and the journal has no room, or does not tell: `standfest journal`"
                )
            raise IntakeUnavailable(f"neither database nor journal answers within {PROMPT_S:.0f} s")
        of_client_max = CLIENTS_SHARE_MAX * self._limit.limit
        if self.under_way >= self._limit.limit or self._under_way[client_id] >= of_client_max:
            raise Overloaded("as many orders are under way as this process answers in time; try again shortly")

    async def place(self, order: Order, latest: Deadline | None = None) -> Placement:
        """Places one order and answers once that is durable: in the database, or in the journal (`accepted`).

        It is sent before `latest`, where that is given, or not at all.

        An order that waits for its batch or has left with it goes on even where its caller goes away.

        Raises:
            KeyReused: the client used the key before for another request.
            Overloaded: nothing was attempted.
            IntakeUnavailable: it was not placed, neither here nor there.
            IntakeOutcomeUnknown: it may have been placed.
        """
        self.require_room(order.client_id)
        self._under_way[order.client_id] += 1
        began = time.monotonic()
        caller = object()
        self._placing[caller] = order
        first = self._first.setdefault(order.order_id, caller) is caller
        placement: Placement | None = None
        try:
            deadline = Deadline.after(self._deadline_s)
            if latest is not None and latest.remaining_s < self._deadline_s:
                deadline = latest
            placement = await self._place(order, deadline)
            self._durable_at = time.monotonic()
            return placement
        finally:
            if first:
                self._note_delay(time.monotonic() - began, placement)
                del self._first[order.order_id]
            del self._placing[caller]
            self._under_way[order.client_id] -= 1
            if not self._under_way[order.client_id]:
                del self._under_way[order.client_id]

    def _note_delay(self, delay_s: float, placement: Placement | None) -> None:
        """Notes how long an order took. One that joined another under way says nothing of it, nor a quick failure."""
        commit_s = self._way.commits.mean_s
        if placement is None or placement.order.status == "accepted":
            commit_s = max(commit_s, self._journal_times.mean_s)
        if placement is not None or delay_s > wanted_delay_s(commit_s):
            self._limit.answered(delay_s, self.under_way, commit_s, time.monotonic())

    def order_under_way(self, order_id: UUID) -> Order | None:
        """The order of this id that is being placed here, as it was agreed; None where there is none.

        Also one whose caller has gone: what may become of it is not in database and journal yet.
        """
        for order in self._placing.values():
            if order.order_id == order_id:
                return order
        ways = (self._direct.order(order_id), self._beside.order(order_id), self._accepting.order(order_id))
        return next((order for order in ways if order is not None), None)

    async def find(self, order_ids: Sequence[UUID], deadline_s: float) -> dict[UUID, Order]:
        """Those of the orders that wait in the journal, in state `accepted`; see `Journal.find`."""
        return await self._journal.find(order_ids, deadline_s)

    async def accept(self, order: Order, deadline_s: float) -> None:
        """Puts an order into the journal, whatever the path is.

        Raises:
            JournalFull, EtcdError, EntryTooNew, EntryBroken, JournalBroken, IntakeOutcomeUnknown, Overloaded: it may
                not be there.
        """
        began = time.monotonic()
        try:
            await self._accept(order, Deadline.after(deadline_s))
        except StandfestError:
            self._journal_promptness.failed(time.monotonic())
            raise
        self._durable_at = time.monotonic()
        self._journal_promptness.answered(self._durable_at - began, self._durable_at)

    async def run(self) -> None:
        """Leaves the direct path for those who wait, and goes back when that is right, until it is cancelled."""
        await self._way.run()

    async def _place(self, order: Order, deadline: Deadline) -> Placement:
        """Tries the paths; once something was sent and not answered, no refusal is the whole truth."""
        unknown: list[Exception] = []
        try:
            return await self._try_paths(order, deadline, unknown)
        except IntakeOutcomeUnknown:
            raise
        except StandfestError as error:
            if unknown or isinstance(error, _UNCLEAR):
                raise IntakeOutcomeUnknown(f"no durable yes came: {(*unknown, error)}") from error
            if isinstance(error, (EtcdError, DatabaseUnavailable)):
                raise IntakeUnavailable(f"neither database nor journal can be used now: {error}") from error
            raise

    async def _try_paths(self, order: Order, deadline: Deadline, unknown: list[Exception]) -> Placement:
        tried = self.path is Path.DIRECT
        if tried:
            try:
                placed = await self._place_directly(order, deadline)
                if placed is not None:
                    return placed
            except OutcomeUnknown as error:
                unknown.append(error)
            except DatabaseUnavailable as error:  # it was not placed
                tried = not isinstance(error, (Turned, PoolBusy))
        self.on_both_paths += tried
        try:
            return await self._accept(order, deadline)
        except (EtcdError, JournalFull) as error:
            if isinstance(error, EtcdOutcomeUnknown):
                unknown.append(error)
            if self.path is Path.JOURNAL:
                raise
        # The journal could not take it, and the database is there again.
        self.on_both_paths += not tried and bool(unknown)
        placed = await self._place_directly(order, deadline)
        if placed is None:
            raise IntakeUnavailable("others who wait in the journal want the same goods, and it takes no orders now")
        return placed

    async def _place_directly(self, order: Order, deadline: Deadline) -> Placement | None:
        """The order as it was placed; None where it has to go behind others, by the journal."""
        outcome = HELD if self._locks.holds(order) else await self._answer(self._direct, order, deadline)
        if isinstance(outcome, Held):
            outcome = await self._place_once_free(order, deadline)
        reach("intake.direct-committed")
        if isinstance(outcome, KeyReused):
            return await self._reused(order, outcome, deadline)
        return None if isinstance(outcome, Behind) else outcome

    async def _reused(self, order: Order, reused: KeyReused, deadline: Deadline) -> Placement:
        """The order where the journal accepted it all the same: the key's holder in the database was not known there.

        An order moves from the journal to the database and never back, so the database is asked again at last.

        Raises:
            KeyReused: it was never acknowledged, and never will be while the database can be reached.
            IntakeOutcomeUnknown: it may have been.
        """
        try:
            accepted = await self._journal.find([order.order_id], max(deadline.remaining_s, 0))
            if order.order_id in accepted:
                held = accepted[order.order_id]
                return Placement(held, True, "accepted", held.content_hash)
            stored = await self._look_up(order, deadline)
        except (EtcdError, DatabaseUnavailable, OutcomeUnknown, psycopg.Error) as error:
            raise IntakeOutcomeUnknown(f"{reused}, and whether this one was accepted is not known: {error}") from error
        if isinstance(stored, Placement):
            return stored
        raise stored or reused

    async def _look_up(self, order: Order, deadline: Deadline) -> Outcome | None:
        """As `find_placed`, a few at a time: a client that uses its keys again and again occupies no more."""
        try:
            async with asyncio.timeout(max(deadline.remaining_s, 0)):
                await self._looking_up.acquire()
        except TimeoutError:
            raise PoolBusy("as many orders are looked up as may be at a time") from None
        try:
            return await find_placed(self._lookups, order, deadline)
        finally:
            self._looking_up.release()

    async def _place_once_free(self, order: Order, deadline: Deadline) -> Outcome | Behind:
        """Places an order whose stock somebody else holds locked, as soon as it is free.

        Raises:
            TryAgain: it was not placed; it had better wait in the journal.
        """
        alone = Deadline.after(HELD_ALONE_S)
        while self._beside.under_way < HELD_MAX and deadline.remaining_s > HELD_REST_S:
            if alone.passed and self._database.committed_s_ago > HELD_ALONE_S:
                break
            outcome = await self._answer(self._beside, order, deadline)
            if not isinstance(outcome, Held):
                return outcome
        raise TryAgain("somebody holds the stock of the order locked")

    async def _accept(self, order: Order, deadline: Deadline) -> Placement:
        entry = msgspec.structs.replace(order, status="accepted", path="journal")
        accepted = await self._answer(self._accepting, entry, deadline)
        reach("journal.created")
        if isinstance(accepted, KeyReused):
            return await self._reused_in_the_journal(order, accepted, deadline)
        if not isinstance(accepted, Accepted):
            raise accepted
        held = accepted.order
        return Placement(held, accepted.repeated, "accepted", held.content_hash)

    async def _reused_in_the_journal(self, order: Order, reused: KeyReused, deadline: Deadline) -> Placement:
        """The order as the database has it. That the journal has another one under its key is no refusal: it does not
        know what the database holds, and where that has neither, another process may place this one still.

        Raises:
            KeyReused: the database holds another order under the key, for ever, and not this one.
            IntakeOutcomeUnknown: neither is known.
        """
        stored: Outcome | None = None
        if not self.database_away:
            try:
                stored = await self._look_up(order, Deadline.after(min(self._way.attempt_max_s, deadline.remaining_s)))
            except (DatabaseUnavailable, OutcomeUnknown, psycopg.Error) as error:
                _log.info("key_holder_not_known", **facts_of(error))
        if isinstance(stored, Placement):
            return stored
        if stored is not None:
            raise stored
        raise IntakeOutcomeUnknown(
            f"the journal holds order {reused.order_id} under this Idempotency-Key, and whether this one was placed "
            "before cannot be found out now"
        )

    async def _answer(self, batches: Batches[Answer], order: Order, deadline: Deadline) -> Answer:
        """What becomes of the order on one path, at the deadline at the latest."""
        passenger = batches.board(order, deadline)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(deadline.remaining_s, 0)):
                return await asyncio.shield(passenger.answer)
        if not passenger.answer.done():
            if passenger.sent:
                raise IntakeOutcomeUnknown("no answer came before the order's deadline")
            late = Overloaded("the order's turn did not come before its deadline; it was not attempted")
            if passenger.deadline is not deadline:
                raise late  # it goes on for a twin that waits longer
            passenger.fail(late)
        return passenger.answer.result()

    async def _fly_direct(self, orders: Sequence[Order], deadline: Deadline) -> list[Placed]:
        return await self._fly(self._locks.place, orders, deadline)

    async def _fly_beside(self, orders: Sequence[Order], deadline: Deadline) -> list[Placed]:
        return await self._fly(self._locks.place_free, orders, deadline)

    async def _place_behind(self, orders: Sequence[Order], deadline: Deadline) -> list[Outcome | Behind]:
        silence_max_s = self._way.silence_max_s
        wait_s = min(patience_s(self._way.commits.mean_s), LOCK_WAIT_OF_SILENCE_MAX * silence_max_s)
        lock_wait_s = wait_s if wait_s > LOCK_WAIT_MS / 1_000 else None  # so long sessions wait unasked
        return await place_behind(self._database, orders, deadline, silence_max_s, self._way.earlier(), lock_wait_s)

    def _turn_away(self, turned: Turned) -> None:
        for waiting in (self._direct, self._beside):
            waiting.turn_away(turned)

    async def _fly(
        self,
        place: Callable[[Sequence[Order], Deadline], Awaitable[list[Placed]]],
        orders: Sequence[Order],
        deadline: Deadline,
    ) -> list[Placed]:
        if deadline.remaining_s < self._way.silence_max_s:
            raise Turned("too little time is left for a direct attempt")
        began = time.monotonic()
        try:
            placed = await place(orders, Deadline.after(min(self._way.attempt_max_s, deadline.remaining_s)))
        except (TryAgain, PoolBusy):  # nothing is said of the database
            raise
        except (DatabaseUnavailable, OutcomeUnknown) as error:
            if is_perhaps_ones_own(error):
                leaves = len(orders) == 1 and await self._way.refuses_all()
            else:
                leaves = began >= self._way.back_at  # what set off before the way back was found says nothing of it
            if leaves:
                self._way.leave(error)
            raise
        if HELD not in placed:
            self._way.committed(began)
        return placed

    async def _fly_journal(self, orders: Sequence[Order], deadline: Deadline) -> list[Accepted | KeyReused | Unclear]:
        began = time.monotonic()
        accepted = await self._journal.accept(orders, max(min(JOURNAL_MAX_S, deadline.remaining_s), 0))
        now = time.monotonic()
        self._journal_times.note(now - began, now)
        return accepted


def _concerns_the_direct_path(error: Exception) -> bool:
    return isinstance(error, (DatabaseUnavailable, OutcomeUnknown)) and not is_perhaps_ones_own(error)
