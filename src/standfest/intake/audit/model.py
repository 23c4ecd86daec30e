"""The audit's words: what is looked at, and what can be found."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

from standfest.domain.events import OrderEvent
from standfest.domain.orders import Line, Order
from standfest.intake.entries import EntryBroken, EntryTooNew
from standfest.intake.receipts import Receipt

FlawKind = Literal["missing", "doubled", "altered"]
FLAW_KINDS: tuple[FlawKind, ...] = ("missing", "doubled", "altered")


class Flaw(msgspec.Struct, frozen=True):
    """Something that must not be."""

    kind: FlawKind
    detail: str
    """In words, without personal data."""


class Agreement(msgspec.Struct, frozen=True):
    """As much of a stored order as a receipt speaks of."""

    request_hash: str
    content_hashes: str
    """All content hashes that were ever agreed for it, in hexadecimal, with spaces between."""
    position: int = 0
    """Ingest position: `orders.id`; 0 where the order is in the journal."""
    first_event: str = ""
    """Type of its first event, which says what was decided; empty where nothing is decided yet."""


class StoredOrder(msgspec.Struct, frozen=True):
    """An order as it lies in the database, with nothing taken for granted."""

    position: int
    """Ingest position: `orders.id`."""
    order_id: UUID
    client_id: UUID
    idempotency_key: str
    request_hash: bytes
    content_hash: bytes
    status: str
    version: int
    customer_reference: str | None
    currency: str
    net: Decimal
    gross: Decimal
    agreed: dict[str, Any] | None
    """As it is stored: a later release may know more fields. None: it is no JSON object."""
    lines: tuple[Line, ...] | None
    """None: they cannot be read as lines."""
    events: tuple[OrderEvent, ...]
    """Oldest first; their types may be words of a later release, and their data and moments anything at all."""


Entry = Order | EntryTooNew | EntryBroken
"""An order in the journal, or why it cannot be read: a later release wrote it, or it is damaged."""


class JournalReader(Protocol):
    """Where orders are that were accepted and are not in the database yet."""

    async def glance_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        """Those of these orders that are seen to wait to be drained, at the lowest cost; an absence says nothing.

        Raises:
            StandfestError: that cannot be found out now.
        """

    async def find_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        """Those of these orders that wait to be drained or are in quarantine, or why one cannot be read.

        Raises:
            StandfestError: that cannot be found out now.
        """


class Examined(msgspec.Struct, frozen=True):
    """What a thorough look at one order found."""

    flaws: tuple[Flaw, ...] = ()
    waits: bool = False
    """It is in the journal and not in the database yet."""


class Subject(msgspec.Struct, frozen=True):
    """An order that is looked at: its id, and a receipt that speaks of it where there is one."""

    order_id: UUID
    receipt: Receipt | None = None
