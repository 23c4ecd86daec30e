"""The feed of changes. It never skips: it serves only what no running transaction can still add to."""

import datetime
from uuid import UUID

import msgspec

from standfest.sales.cursors import decode_cursor, encode_cursor
from standfest.storage.connection import Connection
from standfest.storage.statements import statement

PAGE_MAX = 1_000
_SCAN_MAX = 5_000  # rows looked at for one page where a client sees only a part of them
_XID_END = 2**64
_BIGINT_END = 2**63
_START = encode_cursor(0, 0)


class Change(msgspec.Struct, frozen=True):
    """Something changed; what it is now has to be read."""

    cursor: str
    """Continue behind this change."""
    type: str
    """`order.confirmed`, `product.changed`, `stock.changed`, …"""
    subject: str
    """The order's id or the product's SKU."""
    version: int
    """The subject's version after it."""
    at: datetime.datetime
    """UTC."""


class ChangePage(msgspec.Struct, frozen=True):
    """Changes in the one order in which everybody reads them."""

    changes: list[Change]
    next: str
    """Continue here, also where there was nothing."""


async def read_changes(connection: Connection, after: str | None, limit: int, client_id: UUID | None) -> ChangePage:
    """At most `limit` (1 to 1,000) changes behind `after`; None starts at the first one there ever was.

    Args:
        connection: in a read transaction.
        after: a cursor from an earlier page.
        limit: changes in one page; a page with fewer, even none, need not be the last.
        client_id: show only this client's orders, and the catalogue; None: everything.

    Raises:
        CursorInvalid: the cursor was not given out by this function.
    """
    bounded = max(1, min(limit, PAGE_MAX))
    position = after or _START
    transaction_id, sequence = decode_cursor(position, _XID_END, _BIGINT_END)
    found = await connection.execute(
        statement("sales/read_changes"),
        {
            "client_id": client_id,
            "transaction_id": str(transaction_id),
            "sequence": sequence,
            "scan": bounded if client_id is None else _SCAN_MAX,
            "limit": bounded,
        },
    )
    changes: list[Change] = []
    async for xid, number, type_, subject, version, at, visible in found:
        if len(changes) == bounded:
            break
        position = encode_cursor(int(xid), number)
        if visible:
            changes.append(Change(position, type_, subject, version, at.astimezone(datetime.UTC)))
    return ChangePage(changes, position)
