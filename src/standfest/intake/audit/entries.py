"""The journal as the audit reads it: an entry that cannot be read hides no other one."""

from collections.abc import Sequence
from uuid import UUID

from standfest.intake.audit.model import Entry
from standfest.intake.entries import EntryBroken, EntryTooNew, decode_entry
from standfest.intake.journal import ORDERS_PER_TXN_MAX, Journal

_DEADLINE_S = 2.0
_GLANCES_MAX = 100
"""Entries a glance: a transaction reads up to 128 keys."""


class JournalEntries:
    """Looks for orders in the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def glance_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        """Those of these orders that are seen to wait to be drained: a read, which no member has to write down.

        Raises:
            EtcdUnavailable, EtcdOutcomeUnknown: it cannot be found out now.
        """
        seen: dict[UUID, Entry] = {}
        for start in range(0, len(order_ids), _GLANCES_MAX):
            for waiting in await self._journal.read(order_ids[start : start + _GLANCES_MAX], _DEADLINE_S):
                seen[waiting.order_id] = _entry(waiting.data)
        return seen

    async def find_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        """Those of these orders that wait to be drained or are in quarantine, or why one cannot be read.

        Raises:
            EtcdUnavailable, EtcdOutcomeUnknown: it cannot be found out now.
        """
        found: dict[UUID, Entry] = {}
        for start in range(0, len(order_ids), ORDERS_PER_TXN_MAX):
            found |= await self._find(order_ids[start : start + ORDERS_PER_TXN_MAX])
        return found

    async def _find(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        try:
            return dict(await self._journal.find(order_ids, _DEADLINE_S))
        except (EntryTooNew, EntryBroken) as error:
            if len(order_ids) == 1:
                return {order_ids[0]: error}
        half = len(order_ids) // 2
        return await self._find(order_ids[:half]) | await self._find(order_ids[half:])


def _entry(data: bytes) -> Entry:
    try:
        return decode_entry(data)
    except (EntryTooNew, EntryBroken) as error:
        return error
