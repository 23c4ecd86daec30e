"""Draining the journal: what was accepted is written to the database, oldest first, and then deleted.

Drainers run on every node at once, and need no leader: the database's own rule of identity makes one order of an entry
however often it is written. That mostly one of them writes (an advisory lock, let go with the transaction) only saves
work. An entry is deleted after the commit, and only where it is still the one that was written.

What says something about the database makes a drainer wait. Whatever else goes wrong is sought by halving until one
entry is alone with it: that one is set apart, and the others go on. An entry that fails alone proves nothing where
every order would fail (a release and a schema that do not fit): so a synthetic order is tried out first, and where
that fails as well, it is the database. What asks to be tried again, or says something about the database although a
synthetic order can be written, stays for the next round, and with it what comes later for the same goods; so does
whatever wants goods that somebody holds locked. Such entries come last in a round, and that all others were looked at
is said before. One that fails alone again and again is set apart, save for what no order can cause (`_NEVER_ITS_OWN`).
"""

import asyncio
import datetime
import time
from collections import Counter, deque
from collections.abc import Sequence
from uuid import UUID

import msgspec
import psycopg
import structlog

from standfest.clients.etcd_kv import EtcdError, EtcdFull, EtcdRejected
from standfest.domain.orders import Order
from standfest.domain.stock import set_aside
from standfest.domain.synthetic import SYNTHETIC_CLIENT, trial_order
from standfest.errors import StandfestError
from standfest.intake.agreed_again import keep_lower
from standfest.intake.direct import Placement, place, place_aside, try_out
from standfest.intake.drain_ahead import JOURNAL_DEADLINE_S, Ahead
from standfest.intake.entries import EntryBroken, EntryTooNew, decode_entry
from standfest.intake.errors import KeyReused
from standfest.intake.journal import Journal, Progress, Waiting
from standfest.intake.left_aside import Alone, LeftAside, Pair, batches_of, products_of
from standfest.intake.locks import locked_stock, patience_s
from standfest.storage.connection import Connection
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline, pause
from standfest.storage.errors import (
    DatabaseUnavailable,
    LockTimeout,
    NoStandby,
    OutcomeUnknown,
    PoolBusy,
    StatementFailed,
    TooManyConnections,
    TryAgain,
    concerns_the_database,
    sqlstate_of,
)
from standfest.storage.statements import statement
from standfest.telemetry.failpoints import reach
from standfest.telemetry.failures import facts_of

LIST_MAX = 5_000
BATCH_MAX = 100
ROUND_S = 15.0
LEFT_LISTED_MAX = 20_000
"""So many entries that were left do not hide those behind them."""
TOO_NEW_MAX = 50_000
"""Entries that are left for a later release are remembered, so that they do not hide those behind them."""
RELIST_S, RELIST_CHEAPLY_MAX = 2.0, 1_000
"""Remembered entries may be drained elsewhere, and as many others wait: the journal is listed anew, and where more than
so many are remembered only after so long."""
ALIKE_MAX = 50
"""Entries set apart one after the other for the same error, with no order written meanwhile: then it is not theirs."""
ROLLED_BACK_MAX, ROLLED_BACK_PAUSE_S = 5, 0.05
"""An entry that is rolled back so often for the sake of others, alone, and with pauses that double, is set apart."""
REASON_MAX = 500
IDLE_S = 0.4
"""The pause where nothing waits. There are three drainers, so that an order waits a third of it."""
PAUSE_MAX_S = 2.0
"""The longest pause where the database or the journal is away."""
SYNTHETIC_KEPT_S = 600.0
"""A synthetic order is deleted after so long."""
FORGET_INTERVAL_S = 60.0
FORGET_MAX = 1_000
_DATABASE_DEADLINE_S = 5.0

_LOCK_ATTEMPTS = 5
_WRITES_REMEMBERED = 8

_NEVER_ITS_OWN = (LockTimeout, PoolBusy, NoStandby, TooManyConnections)
_AWAY = (DatabaseUnavailable, OutcomeUnknown, EtcdError)
_ROLLED_BACK = "40"  # SQLSTATE class: deadlocks and the like, as opposed to locks that are not available
_DEFECTS = (psycopg.Error, StandfestError, msgspec.MsgspecError)

_log = structlog.get_logger(__name__)


class OrdersRefused(DatabaseUnavailable):
    """The database answers and refuses every order: its schema and this release do not fit, or it is damaged."""


class Drainer:
    """One worker's drainer."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._batch_max = BATCH_MAX
        self._too_new: set[UUID] = set()
        self._listed_at = -RELIST_S
        self._left = LeftAside()
        self._left_before = LeftAside()
        self._alike: Counter[str] = Counter()
        self._writes_s: deque[float] = deque((0.0,), maxlen=_WRITES_REMEMBERED)
        self._turn: Connection | None = None
        self.refused = False
        """The last round found that the database refuses every order."""
        self.drained = 0
        """Business orders that this drainer wrote, or found written."""
        self.set_apart = 0
        """Entries that this drainer put into quarantine."""
        self.conflicts = 0
        self.failures = 0
        """Rounds that failed."""
        self.well_at = time.monotonic()
        """When a round last ended well, or the drainer began; monotonic seconds."""
        self.synthetic_age_s: float | None = None
        """How old the last synthetic order was when it was confirmed here."""
        self.synthetic_at: float | None = None
        """When that was, in seconds since 1970."""

    async def run(self, stop: asyncio.Event) -> None:
        """Drains until `stop` is set; a batch that is under way is ended first. No failure ends it."""
        pause_s = IDLE_S
        while not stop.is_set():
            try:
                busy = await self.round(stop)
            except OrdersRefused as error:
                self.refused = True
                _log.error("drain_stands", next_in_s=pause_s, **facts_of(error))
            except _AWAY as error:
                _log.warning("drain_round_failed", next_in_s=pause_s, batch_max=self._batch_max, **facts_of(error))
            except Exception as error:  # noqa: BLE001 - reported; draining goes on
                _log.error("drain_round_broken", next_in_s=pause_s, **facts_of(error), exc_info=error)
            else:
                self.well_at = time.monotonic()
                self.refused = False
                pause_s = IDLE_S
                if not busy:
                    await pause(IDLE_S, stop)
                continue
            self.failures += 1
            self._batch_max = max(self._batch_max // 2, 1)  # where all is slow, less at a time comes through
            await pause(pause_s, stop)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def round(self, stop: asyncio.Event | None = None) -> bool:
        """Drains what waits now, for at most ROUND_S; whether there may be more to do here at once.

        Raises:
            DatabaseUnavailable, OutcomeUnknown, EtcdError: the rest is for later.
            OrdersRefused: the same; a person has to look.
        """
        if not await self._something_waits():
            return False
        end = Deadline.after(ROUND_S)

        def over() -> bool:
            return end.passed or (stop is not None and stop.is_set())

        # The transaction writes nothing and holds only the turn. A drainer that is frozen loses it: the server ends
        # transactions that stand idle.
        async with self._database.connection(Deadline.after(ROUND_S + 2 * _DATABASE_DEADLINE_S)) as turn:
            await turn.execute("BEGIN")
            await turn.execute(statement("intake/drain_patience"))
            row = await (await turn.execute(statement("intake/drain_turn"))).fetchone()
            if row is None or not row[0]:
                return False
            self._turn = turn
            drained = 0
            last: list[Pair] = []
            began = datetime.datetime.now(datetime.UTC)
            list_max = LIST_MAX + len(self._too_new) + min(len(self._left.order_ids), LEFT_LISTED_MAX)
            listing = await self._journal.listing(list_max, JOURNAL_DEADLINE_S)
            self._left_before, self._left = (
                self._left,
                LeftAside({name: self._left.alone[name] for name in listing.order_ids if name in self._left.alone}),
            )
            self._listed_at = time.monotonic()
            self._too_new.intersection_update(listing.order_ids)
            names = [name for name in listing.order_ids if name not in self._too_new]
            whole = len(listing.order_ids) < list_max
            async with Ahead(self._journal, names, self._batch_max, listing.progress) as ahead:
                async for entries in ahead:
                    pairs = await self._decode(entries)
                    last += [pair for pair in pairs if pair in self._left_before]
                    for batch in batches_of([pair for pair in pairs if pair not in self._left_before]):
                        drained += await self._drain(batch, ahead)
                        await turn.execute("SELECT")
                    if over():
                        break
                # All were looked at, and what is left aside may keep the round waiting.
                if whole and not over() and (last or self._left.order_ids or not drained):
                    aside = len(last) + len(self._left.order_ids) + len(listing.order_ids) - len(names)
                    await ahead.say(Progress(began, listing.revision, aside, aside))
                for batch in self._left_before.batches(last, self._batch_max):
                    if over():
                        for pair in batch:
                            self._left.add(pair)
                    else:
                        drained += await self._drain(batch, ahead)
                        await turn.execute("SELECT")
            await turn.execute("COMMIT")
        return drained > 0

    @property
    def left(self) -> int:
        """Entries that the last round left for the next one."""
        return len(self._left.order_ids)

    @property
    def _lock_wait_s(self) -> float:
        return patience_s(max(self._writes_s))

    async def _something_waits(self) -> bool:
        """Whether there is more than what is left for a later release, as far as a count can tell.

        What is remembered may have been drained elsewhere, and as many others may wait: a listing finds out.
        """
        count = await self._journal.count(JOURNAL_DEADLINE_S)
        if not count:
            self._too_new.clear()
            self._left = LeftAside()
            return False
        if count != len(self._too_new) or count <= RELIST_CHEAPLY_MAX:
            return True
        return time.monotonic() - self._listed_at >= RELIST_S

    async def _decode(self, entries: Sequence[Waiting]) -> list[Pair]:
        """The entries in the order of their creation; what cannot be read is set apart, or left for a later release."""
        pairs: list[Pair] = []
        for entry in entries:
            try:
                pairs.append((entry, decode_entry(entry.data)))
            except EntryTooNew:
                if len(self._too_new) < TOO_NEW_MAX:
                    self._too_new.add(entry.order_id)
            except EntryBroken as error:
                await self._set_apart(entry, error)
        # Those that were created in one transaction have one revision.
        return sorted(pairs, key=lambda pair: (pair[0].create_revision, pair[1].accepted_at))

    async def _drain(self, batch: Sequence[Pair], ahead: Ahead, attempt: int = 1) -> int:
        """Writes a batch and deletes it, halved until a bad entry is alone; how many entries are done with."""
        waiting: list[Pair] = []
        for pair in batch:
            if self._left.has_goods_of(pair):  # an earlier one that was left wants the same: nobody overtakes it
                self._left.add(pair)
            else:
                waiting.append(pair)
        if not waiting:
            return 0
        try:
            await self._write(waiting)
        except EtcdError:
            raise
        except Exception as error:
            await self._keep_turn()
            if len(waiting) > 1 and isinstance(error, LockTimeout) and attempt < _LOCK_ATTEMPTS:
                self._left.hold(await self._locked(waiting, standing=attempt + 1 < _LOCK_ATTEMPTS))
                await self._keep_turn()
                return await self._drain(waiting, ahead, attempt + 1)
            if len(waiting) == 1 and _is_rolled_back(error) and attempt < ROLLED_BACK_MAX:
                await asyncio.sleep(2**attempt * ROLLED_BACK_PAUSE_S)
                return await self._drain(waiting, ahead, attempt + 1)
            if len(waiting) == 1:
                return await self._judge(waiting[0], error)
            if concerns_the_database(error):
                if not sqlstate_of(error):  # no answer: where all is slow, less at a time comes through
                    raise
                await self._try_out()
            middle = len(waiting) // 2
            return await self._drain(waiting[:middle], ahead) + await self._drain(waiting[middle:], ahead)
        reach("drain.committed")
        await ahead.remove(waiting, len(self._left_before.waiting | self._left.waiting) + len(self._too_new))
        self._count(waiting)
        self._batch_max = ahead.part_max = min(2 * self._batch_max, BATCH_MAX)
        return len(waiting)

    async def _locked(self, batch: Sequence[Pair], *, standing: bool) -> set[int]:
        """Products of these orders whose stock somebody holds locked now.

        `standing`: only those that the same one still holds after one more wait.
        """
        products = {product_id for _, order in batch for product_id in products_of(order)}
        async with self._database.connection(Deadline.after(_DATABASE_DEADLINE_S)) as connection:
            locked = await locked_stock(connection, products)
            if standing and locked:
                await asyncio.sleep(self._lock_wait_s)
                again = await locked_stock(connection, set(locked))
                locked = {product_id: holder for product_id, holder in again.items() if locked[product_id] == holder}
        _log.info("goods_locked", products=len(locked), orders=len(batch))
        return set(locked)

    async def _judge(self, pair: Pair, error: Exception) -> int:
        """What becomes of an entry that failed alone: set apart, or left for the next round; how many are done with.

        Raises:
            DatabaseUnavailable, OutcomeUnknown: the database is the cause.
        """
        entry = pair[0]
        await self._try_out()
        if concerns_the_database(error) or (isinstance(error, TryAgain) and not _is_rolled_back(error)):
            failed, now = self._left.alone.get(entry.order_id, Alone()), time.monotonic()
            its_own = not isinstance(error, _NEVER_ITS_OWN)
            if its_own:
                failed = failed.again(now)
            if not (its_own and failed.is_enough(now)):
                _log.warning("journal_entry_left", order_id=str(entry.order_id), **facts_of(error))
                self._left.add_alone(pair, failed)
                return 0
        kind = _kind(error)
        if self._alike[kind] >= ALIKE_MAX:
            _log.error("journal_entries_fail_alike", order_id=str(entry.order_id), kind=kind, **facts_of(error))
            self._left.order_ids.add(entry.order_id)
            return 0
        self._alike = Counter({kind: self._alike[kind] + 1})
        return await self._set_apart(entry, error)

    async def _try_out(self) -> None:
        """Places a synthetic order and takes it back.

        Raises:
            OrdersRefused: that is refused: what is wrong is wrong for every order.
            DatabaseUnavailable, OutcomeUnknown: the database is away.
        """
        order = trial_order()
        try:
            await try_out(self._database, order, Deadline.after(_DATABASE_DEADLINE_S))
        except (psycopg.Error, StatementFailed) as error:
            raise OrdersRefused(f"the database refuses every order: {facts_of(error)['error']}") from error
        await self._keep_turn()

    async def _keep_turn(self) -> None:
        """Has the turn's transaction stand idle for no longer than one batch may take."""
        if self._turn is not None:
            await self._turn.execute("SELECT")

    async def _write(self, batch: Sequence[Pair]) -> None:
        orders = [order for _, order in batch]
        began = time.monotonic()
        outcomes = await place(self._database, orders, Deadline.after(_DATABASE_DEADLINE_S), self._lock_wait_s)
        self._writes_s.append(time.monotonic() - began)
        aside = []
        for order, outcome in zip(orders, outcomes, strict=True):
            if isinstance(outcome, KeyReused):
                aside.append(set_aside(order, outcome.order_id))
            elif outcome.repeated and outcome.agreed_hash != order.content_hash:
                await self._agree_again(order, outcome)
        if aside:
            await place_aside(self._database, aside, Deadline.after(_DATABASE_DEADLINE_S))
            for decision in aside:
                self.conflicts += 1
                _log.error("order_in_conflict", order_id=str(decision.order.order_id), **(decision.details or {}))

    async def _agree_again(self, order: Order, stored: Placement) -> None:
        async with self._database.write(_DATABASE_DEADLINE_S) as connection:
            await keep_lower(connection, order)
        _log.info("order_agreed_again", order_id=str(order.order_id), stored=stored.agreed_hash.hex())

    async def _set_apart(self, entry: Waiting, error: Exception) -> int:
        """Puts an entry into quarantine; 1, or 0 where the journal is too full for that: then it stays."""
        facts = facts_of(error)  # what the database says of a row may name the customer
        defect = None if isinstance(error, _DEFECTS) else error  # what says itself what is wrong needs no traceback
        _log.error("journal_entry_quarantined", order_id=str(entry.order_id), **facts, exc_info=defect)
        try:
            await self._journal.quarantine(entry, str(facts["error"])[:REASON_MAX], JOURNAL_DEADLINE_S)
        except (EtcdFull, EtcdRejected) as refused:
            _log.error("journal_entry_not_quarantined", order_id=str(entry.order_id), **facts_of(refused))
            self._left.order_ids.add(entry.order_id)
            return 0
        self.set_apart += 1
        return 1

    def _count(self, batch: Sequence[Pair]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for _, order in batch:
            if order.client_id == SYNTHETIC_CLIENT:
                self.synthetic_age_s = (now - order.accepted_at).total_seconds()
                self.synthetic_at = now.timestamp()
            else:
                self.drained += 1
                self._alike.clear()


def _kind(error: Exception) -> str:
    """What makes two failures alike."""
    return sqlstate_of(error) or type(error).__name__


def _is_rolled_back(error: Exception) -> bool:
    """Whether it was rolled back for the sake of another. A lock is waited for instead: who holds it lets go."""
    return sqlstate_of(error).startswith(_ROLLED_BACK)


async def forget_synthetic(database: Database) -> None:
    """Deletes synthetic orders that are older than SYNTHETIC_KEPT_S, until it is cancelled. No failure ends it."""
    while True:
        await asyncio.sleep(FORGET_INTERVAL_S)
        older_than = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=SYNTHETIC_KEPT_S)
        values = {"older_than": older_than, "at_most": FORGET_MAX}
        try:
            async with database.write(_DATABASE_DEADLINE_S) as connection:
                await connection.execute(statement("intake/forget_synthetic"), values)
        except _DEFECTS as error:
            _log.info("synthetic_orders_not_forgotten", **facts_of(error))
