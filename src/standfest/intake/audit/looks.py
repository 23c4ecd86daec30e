"""Looking: a quick look at many receipts or orders, and a thorough one at what seemed wrong.

A quick look acquits, so it is a read that is proven (`Database.read`). It may see too little: it asks each place once,
and an order may be on its way from the journal to the database. So it accuses nobody. The thorough look asks database,
journal, and database again, the database in transactions of its own that commit. In this order an order that is
drained meanwhile is seen in one place at least.

While the database is away nobody asks it but one probe now and then, so that to wait costs next to nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal
from uuid import UUID

import psycopg
import structlog

from standfest.errors import StandfestError
from standfest.intake.audit.decide import agreement_of, judge_entry, judge_order, judge_receipt
from standfest.intake.audit.model import Agreement, Entry, Examined, Flaw, JournalReader, StoredOrder, Subject
from standfest.intake.audit.stored import (
    find_positions,
    last_position,
    next_positions,
    read_agreements,
    read_stored,
)
from standfest.intake.receipts import Receipt
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown, PoolBusy, TryAgain
from standfest.telemetry.failures import facts_of

DEADLINE_S = 3.0
"""For one batch of reads."""
PROBE_PAUSE_S = 2.0
"""A database that is away is asked again so long after it was asked last."""

_COULD_NOT = (DatabaseUnavailable, OutcomeUnknown, psycopg.Error)
_BUSY = (PoolBusy, TryAgain)  # nobody could look just now, and the database is there

Glance = Literal["found", "waits", "suspect", "unseen", "unknown"]
"""waits: in the journal, as acknowledged. suspect: seems missing or altered. unseen: not in the journal, and the
database could not be asked. unknown: could not look."""

_Ask = Callable[[Sequence[UUID]], Awaitable[dict[UUID, Entry]]]

_log = structlog.get_logger(__name__)


class Looks:
    """Looks into database and journal."""

    def __init__(
        self, database: Database, journal: JournalReader, receipted: Callable[[Iterable[int]], None] = lambda _: None
    ) -> None:
        """`receipted`: told the ingest positions of stored orders of which a receipt was looked at."""
        self._database = database
        self._receipted = receipted
        self._journal = journal
        self._away: set[str] = set()
        self._probing = asyncio.Lock()
        self._probe_due = 0.0

    async def database_there(self) -> bool:
        """Whether the database answered the last look at it; one that did not is asked again from time to time."""
        if self._known_there():
            return True
        async with self._probing:
            if self._known_there() or time.monotonic() < self._probe_due:
                return self._known_there()
            try:
                async with self._database.read(DEADLINE_S):
                    pass
            except _COULD_NOT as error:
                self._is_away("database", error)
                return False
            self._is_there("database")
            return True

    def _known_there(self) -> bool:
        return "database" not in self._away and self._database.primary is not None

    async def glance_at_receipts(self, receipts: Sequence[Receipt]) -> list[Glance]:
        """A quick look at what these receipts speak of, in their order."""
        ids = list({receipt.order_id for receipt in receipts})
        agreements = await self._agreements(ids)
        self._receipted(agreement.position for agreement in (agreements or {}).values())
        entries, otherwise = await self._glimpses(ids, agreements)

        def judge(receipt: Receipt) -> Glance:
            if agreements is not None and receipt.order_id in agreements:
                return "suspect" if judge_receipt(receipt, agreements[receipt.order_id]) else "found"
            if receipt.order_id in entries:
                return "suspect" if judge_entry(receipt, entries[receipt.order_id]) else "waits"
            return otherwise

        return [judge(receipt) for receipt in receipts]

    async def glance_at_orders(self, after: int, upto: int, orders_max: int) -> tuple[list[UUID], list[int]] | None:
        """A quick look at the orders that follow an ingest position.

        Returns:
            Ids of those that seem doubled or altered, and the positions looked at; None where it could not look.
        """
        if not await self.database_there():
            return None
        try:
            async with self._database.read(DEADLINE_S) as connection:
                positions = await next_positions(connection, after, upto, orders_max)
                stored = await read_stored(connection, positions)
            self._is_there("database")
        except _COULD_NOT as error:
            self._is_away("database", error)
            return None
        return [order_id for order_id, order in stored.items() if _flaws(order)], positions

    async def last_position(self) -> int | None:
        """The highest ingest position now; None where it could not look."""
        if not await self.database_there():
            return None
        try:
            async with self._database.read(DEADLINE_S) as connection:
                return await last_position(connection)
        except _COULD_NOT as error:
            self._is_away("database", error)
            return None

    async def examine(self, subjects: Sequence[Subject]) -> dict[UUID, Examined]:
        """A thorough look at some orders; those of which nothing can be known now are left out."""
        if not await self.database_there():
            return {}
        by_id = {subject.order_id: subject for subject in subjects}
        try:
            stored = await self._stored_for_certain(list(by_id))
            in_question = [order_id for order_id in by_id if _asks_journal(by_id[order_id], stored.get(order_id))]
            entries = await self._entries(self._journal.find_many, in_question)
            if entries is None:
                known, entries = by_id.keys() - in_question, {}
            else:
                known = set(by_id)
                unanswered = [order_id for order_id in in_question if not _bears_out(by_id[order_id], entries)]
                stored |= await self._stored_for_certain(unanswered)
            self._is_there("commits")
        except _COULD_NOT as error:
            self._is_away("commits", error)
            return {}
        return {order_id: _judge(by_id[order_id], stored.get(order_id), entries.get(order_id)) for order_id in known}

    async def _agreements(self, order_ids: Sequence[UUID]) -> dict[UUID, Agreement] | None:
        """What the database has of these orders; None where it cannot be asked."""
        if not await self.database_there():
            return None
        try:
            async with self._database.read(DEADLINE_S) as connection:
                agreements = await read_agreements(connection, order_ids)
        except _COULD_NOT as error:
            self._is_away("database", error)
            return None
        self._is_there("database")
        return agreements

    async def _glimpses(
        self, order_ids: Sequence[UUID], agreements: Mapping[UUID, Agreement] | None
    ) -> tuple[dict[UUID, Entry], Glance]:
        """What the journal has of those orders that the database has not, and what is to be said of all others."""
        absent = [order_id for order_id in order_ids if order_id not in (agreements or ())]
        entries = await self._entries(self._journal.glance_many, absent)
        if entries is None:
            return {}, "unknown"
        if agreements is not None:
            return entries, "suspect"
        # Before the database is back nobody looks again, so what a mere glance did not find is looked for at once.
        more = await self._entries(
            self._journal.find_many, [order_id for order_id in absent if order_id not in entries]
        )
        return (entries, "unknown") if more is None else (entries | more, "unseen")

    async def _stored_for_certain(self, order_ids: Sequence[UUID]) -> dict[UUID, StoredOrder]:
        if not order_ids:
            return {}
        async with self._database.write(DEADLINE_S) as connection:
            return await read_stored(connection, await find_positions(connection, order_ids))

    async def _entries(self, ask: _Ask, order_ids: Sequence[UUID]) -> dict[UUID, Entry] | None:
        """What the journal has of these orders; None where it cannot be asked."""
        if not order_ids:
            return {}
        try:
            entries = await ask(order_ids)
        except StandfestError as error:
            self._is_away("journal", error)
            return None
        self._is_there("journal")
        return entries

    def _is_away(self, part: str, error: Exception) -> None:
        """Says so once, not at every look."""
        if isinstance(error, _BUSY):
            _log.info("audit_look_put_off", part=part, **facts_of(error))
            return
        if part == "database":
            self._probe_due = time.monotonic() + PROBE_PAUSE_S
        if part not in self._away:
            self._away.add(part)
            _log.warning("audit_cannot_look", part=part, **facts_of(error))

    def _is_there(self, part: str) -> None:
        if part in self._away:
            self._away.remove(part)
            _log.info("audit_looks_again", part=part)


def _flaws(order: StoredOrder, acknowledged: bool = False) -> tuple[Flaw, ...]:
    """What is wrong with a stored order, whatever somebody wrote into its rows: one order never ends the audit."""
    try:
        return judge_order(order, acknowledged)
    except Exception as error:  # noqa: BLE001 - whatever it is, it says that this program did not write these rows
        _log.error("audit_order_unreadable", order_id=str(order.order_id), **facts_of(error))
        return (Flaw("altered", "its rows cannot be read"),)


def _judge(subject: Subject, order: StoredOrder | None, entry: Entry | None) -> Examined:
    receipt = subject.receipt
    if order is None and entry is None:
        promised = () if receipt is None else (f"it was acknowledged as {receipt.promise} and is stored nowhere",)
        return Examined(tuple(Flaw("missing", detail) for detail in promised))
    if order is None:
        return Examined(judge_entry(receipt, entry) if receipt and entry else (), waits=True)
    flaws = _flaws(order, acknowledged=receipt is not None)
    if receipt is not None:
        by_receipt = judge_receipt(receipt, agreement_of(order))
        # Agreed twice at two prices: that the other one is in the journal still says the order's event later.
        if by_receipt and entry is not None and not judge_entry(receipt, entry):
            return Examined(flaws, waits=True)
        flaws += by_receipt
    return Examined(flaws)


def _asks_journal(subject: Subject, order: StoredOrder | None) -> bool:
    """Whether the journal may know more of the order than the database."""
    if subject.receipt is None:
        return False
    return order is None or bool(judge_receipt(subject.receipt, agreement_of(order)))


def _bears_out(subject: Subject, entries: Mapping[UUID, Entry]) -> bool:
    """Whether the journal has the order as it was acknowledged."""
    entry = entries.get(subject.order_id)
    return entry is not None and subject.receipt is not None and not judge_entry(subject.receipt, entry)
