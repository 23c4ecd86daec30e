"""Looking: a quick look at many receipts or orders, and a thorough one at what seemed wrong.

A quick look reads the primary's newest snapshot as this process sees it. It may see too little: a primary that was
replaced and does not know it still answers reads, and an order may be on its way from the journal to the database.
So it accuses nobody. The thorough look asks database, journal, and database again, the database in transactions
that commit: only a node that is the primary still can do that. In this order an order that is drained meanwhile is
seen in one place at least.
"""

from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

import psycopg
import structlog

from standfest.errors import StandfestError
from standfest.intake.audit.decide import agreement_of, judge_entry, judge_order, judge_receipt
from standfest.intake.audit.model import Entry, Examined, Flaw, JournalReader, StoredOrder, Subject
from standfest.intake.audit.stored import (
    find_positions,
    last_position,
    next_positions,
    read_agreements,
    read_stored,
)
from standfest.intake.receipts import Receipt
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.telemetry.failures import facts_of

DEADLINE_S = 3.0
"""For one batch of reads."""

_COULD_NOT = (DatabaseUnavailable, OutcomeUnknown, psycopg.Error)

Glance = Literal["found", "waits", "suspect", "unknown"]
"""waits: in the journal, as acknowledged. suspect: seems missing or altered. unknown: could not look."""

_log = structlog.get_logger(__name__)


class Looks:
    """Looks into database and journal."""

    def __init__(self, database: Database, journal: JournalReader) -> None:
        self._database = database
        self._journal = journal
        self._away: set[str] = set()

    async def glance_at_receipts(self, receipts: Sequence[Receipt]) -> list[Glance]:
        """A quick look at what these receipts speak of, in their order."""
        ids = list({receipt.order_id for receipt in receipts})
        try:
            async with self._database.read(DEADLINE_S) as connection:
                agreements = await read_agreements(connection, ids)
            otherwise: Glance = "suspect"
            self._is_there("database")
        except _COULD_NOT as error:
            self._is_away("database", error)
            agreements, otherwise = {}, "unknown"
        entries = await self._entries([order_id for order_id in ids if order_id not in agreements])
        if entries is None:
            entries, otherwise = {}, "unknown"

        def judge(receipt: Receipt) -> Glance:
            if receipt.order_id in agreements:
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
        try:
            async with self._database.read(DEADLINE_S) as connection:
                positions = await next_positions(connection, after, upto, orders_max)
                stored = await read_stored(connection, positions)
            self._is_there("database")
        except _COULD_NOT as error:
            self._is_away("database", error)
            return None
        return [order_id for order_id, order in stored.items() if judge_order(order)], positions

    async def last_position(self) -> int | None:
        """The highest ingest position now; None where it could not look."""
        try:
            async with self._database.read(DEADLINE_S) as connection:
                return await last_position(connection)
        except _COULD_NOT as error:
            self._is_away("database", error)
            return None

    async def examine(self, subjects: Sequence[Subject]) -> dict[UUID, Examined]:
        """A thorough look at some orders; those of which nothing can be known now are left out."""
        by_id = {subject.order_id: subject for subject in subjects}
        try:
            stored = await self._stored_for_certain(list(by_id))
            in_question = [order_id for order_id in by_id if _asks_journal(by_id[order_id], stored.get(order_id))]
            entries = await self._entries(in_question)
            if entries is None:
                known, entries = by_id.keys() - in_question, {}
            else:
                known = set(by_id)
                unanswered = [order_id for order_id in in_question if not _bears_out(by_id[order_id], entries)]
                stored |= await self._stored_for_certain(unanswered)
        except _COULD_NOT as error:
            self._is_away("database", error)
            return {}
        return {order_id: _judge(by_id[order_id], stored.get(order_id), entries.get(order_id)) for order_id in known}

    async def _stored_for_certain(self, order_ids: Sequence[UUID]) -> dict[UUID, StoredOrder]:
        if not order_ids:
            return {}
        async with self._database.write(DEADLINE_S) as connection:
            return await read_stored(connection, await find_positions(connection, order_ids))

    async def _entries(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry] | None:
        """What the journal has of these orders; None where it cannot be asked."""
        if not order_ids:
            return {}
        try:
            entries = await self._journal.find_many(order_ids)
        except StandfestError as error:
            self._is_away("journal", error)
            return None
        self._is_there("journal")
        return entries

    def _is_away(self, part: str, error: Exception) -> None:
        """Says so once, not at every look."""
        if part not in self._away:
            self._away.add(part)
            _log.warning("audit_cannot_look", part=part, **facts_of(error))

    def _is_there(self, part: str) -> None:
        if part in self._away:
            self._away.remove(part)
            _log.info("audit_looks_again", part=part)


def _judge(subject: Subject, order: StoredOrder | None, entry: Entry | None) -> Examined:
    receipt = subject.receipt
    if order is None and entry is None:
        promised = () if receipt is None else (f"it was acknowledged as {receipt.promise} and is stored nowhere",)
        return Examined(tuple(Flaw("missing", detail) for detail in promised))
    if order is None:
        return Examined(judge_entry(receipt, entry) if receipt and entry else (), waits=True)
    flaws = judge_order(order, acknowledged=receipt is not None)
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
