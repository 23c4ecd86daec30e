"""Draining the journal: what was accepted is written to the database, oldest first, and then deleted.

Drainers run on every node at once, and need no leader: the database's own rule of identity makes one order of an entry
however often it is written. That mostly one of them writes (an advisory lock, let go with the transaction) only saves
work. An entry is deleted after the commit, and only where it is still the one that was written.
"""

import asyncio
import contextlib
import datetime
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Self, TypeVar
from uuid import UUID

import msgspec
import psycopg
import structlog

from standfest.clients.etcd_kv import EtcdError
from standfest.domain.orders import Order
from standfest.domain.stock import set_aside
from standfest.domain.synthetic import SYNTHETIC_CLIENT
from standfest.errors import StandfestError
from standfest.intake.agreed_again import keep_lower
from standfest.intake.direct import Placement, place, place_aside
from standfest.intake.entries import EntryBroken, EntryTooNew, decode_entry
from standfest.intake.errors import KeyReused
from standfest.intake.journal import Journal, Waiting
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.storage.statements import statement
from standfest.telemetry.failpoints import reach
from standfest.telemetry.failures import facts_of

LIST_MAX = 5_000
BATCH_MAX = 100
BATCH_LINES_MAX = 4_000
IDLE_S = 0.4
"""The pause where nothing waits. There are three drainers, so that an order waits a third of it."""
PAUSE_MAX_S = 2.0
"""The longest pause where the database or the journal is away."""
SYNTHETIC_KEPT_S = 600.0
"""A synthetic order is deleted after so long."""
FORGET_INTERVAL_S = 60.0
FORGET_MAX = 1_000
_JOURNAL_DEADLINE_S = 3.0
_DATABASE_DEADLINE_S = 5.0
_ROUND_MAX_S = 30.0

_AWAY = (DatabaseUnavailable, OutcomeUnknown, EtcdError)
_DEFECTS = (psycopg.Error, StandfestError, msgspec.MsgspecError)

_log = structlog.get_logger(__name__)
_Pair = tuple[Waiting, Order]
_T = TypeVar("_T")


class Drainer:
    """One worker's drainer."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
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
                busy = await self.round()
            except _AWAY as error:
                self.failures += 1
                _log.info("drain_round_failed", next_in_s=pause_s, **facts_of(error))
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
            except _DEFECTS as error:
                self.failures += 1
                _log.error("drain_round_broken", next_in_s=pause_s, **facts_of(error))
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
            else:
                self.well_at = time.monotonic()
                pause_s = IDLE_S
                if busy:
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()

    async def round(self) -> bool:
        """Drains what waits now, at most LIST_MAX entries; whether there was anything to do here.

        Raises:
            DatabaseUnavailable, OutcomeUnknown, EtcdError: the rest is for later.
        """
        if not await self._journal.count(_JOURNAL_DEADLINE_S):
            return False
        # The transaction writes nothing and holds only the turn. A drainer that is frozen loses it: the server ends
        # transactions that stand idle.
        async with self._database.connection(Deadline.after(_ROUND_MAX_S)) as turn:
            await turn.execute("BEGIN")
            row = await (await turn.execute(statement("intake/drain_turn"))).fetchone()
            if row is None or not row[0]:
                return False
            drained = 0
            async with _Ahead(self._journal, await self._journal.waiting(LIST_MAX, _JOURNAL_DEADLINE_S)) as ahead:
                async for entries in ahead:
                    for batch in _batches(await self._decode(entries)):
                        drained += await self._drain(batch, ahead)
                        await turn.execute("SELECT")
            await turn.execute("COMMIT")
        return drained > 0

    async def _decode(self, entries: Sequence[Waiting]) -> list[_Pair]:
        """The entries in the order of their creation; what cannot be read is set apart, or left for a later release."""
        pairs: list[_Pair] = []
        for entry in entries:
            try:
                pairs.append((entry, decode_entry(entry.data)))
            except EntryTooNew:
                continue
            except EntryBroken as error:
                await self._set_apart(entry, error)
        # Those that were created in one transaction have one revision.
        return sorted(pairs, key=lambda pair: (pair[0].create_revision, pair[1].accepted_at))

    async def _drain(self, batch: Sequence[_Pair], ahead: "_Ahead") -> int:
        """Writes a batch and deletes it, halved until a bad entry is alone; how many entries are done with."""
        try:
            await self._write(batch)
        except _AWAY:
            raise
        except _DEFECTS as error:
            if len(batch) == 1:
                await self._set_apart(batch[0][0], error)
                return 1
            middle = len(batch) // 2
            return await self._drain(batch[:middle], ahead) + await self._drain(batch[middle:], ahead)
        reach("drain.committed")
        await ahead.remove(batch)
        self._count(batch)
        return len(batch)

    async def _write(self, batch: Sequence[_Pair]) -> None:
        orders = [order for _, order in batch]
        outcomes = await place(self._database, orders, Deadline.after(_DATABASE_DEADLINE_S))
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

    async def _set_apart(self, entry: Waiting, error: Exception) -> None:
        self.set_apart += 1
        _log.error("journal_entry_quarantined", order_id=str(entry.order_id), **facts_of(error))
        await self._journal.quarantine(entry, str(error), _JOURNAL_DEADLINE_S)

    def _count(self, batch: Sequence[_Pair]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for _, order in batch:
            if order.client_id == SYNTHETIC_CLIENT:
                self.synthetic_age_s = (now - order.accepted_at).total_seconds()
                self.synthetic_at = now.timestamp()
            else:
                self.drained += 1


class _Ahead:
    """What a round does with the journal while the database works: it reads the next entries and removes the last."""

    def __init__(self, journal: Journal, order_ids: Sequence[UUID]) -> None:
        self._journal = journal
        self._parts = [order_ids[start : start + BATCH_MAX] for start in range(0, len(order_ids), BATCH_MAX)]
        self._tasks: set[asyncio.Task[Any]] = set()
        self._removing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Waits for the last removal; where the round has failed, gives up what is under way (it will be repeated)."""
        if kind is None and self._removing is not None:
            await self._removing
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[list[Waiting]]:
        """The entries, part by part."""
        following: asyncio.Task[list[Waiting]] | None = None
        for number, part in enumerate(self._parts):
            reading = following or self._begin(self._journal.read(part, _JOURNAL_DEADLINE_S))
            entries = await reading
            if number + 1 < len(self._parts):
                following = self._begin(self._journal.read(self._parts[number + 1], _JOURNAL_DEADLINE_S))
            yield entries

    async def remove(self, batch: Sequence[_Pair]) -> None:
        """Removes written entries; waits only for the removal before."""
        if self._removing is not None:
            await self._removing
        self._removing = self._begin(self._journal.remove(batch, _JOURNAL_DEADLINE_S))

    def _begin(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task


def _batches(pairs: Sequence[_Pair]) -> list[list[_Pair]]:
    """In the order given, bounded by lines, and no two with one client and key together."""
    batches: list[list[_Pair]] = []
    keys: set[object] = set()
    lines = 0
    for pair in pairs:
        order = pair[1]
        key = (order.client_id, order.idempotency_key)
        lines += len(order.lines)
        if not batches or key in keys or lines > BATCH_LINES_MAX:
            batches.append([])
            keys.clear()
            lines = len(order.lines)
        keys.add(key)
        batches[-1].append(pair)
    return batches


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
