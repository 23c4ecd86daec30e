"""The feed of changes. It never skips: it serves only what no running transaction can still add to."""

import datetime
from uuid import UUID

import msgspec

from standfest.sales.cursors import START_AGAIN, Cursors, Sealed
from standfest.sales.errors import CursorExpired
from standfest.storage.connection import Connection
from standfest.storage.generation import read_generation
from standfest.storage.statements import statement

PAGE_MAX = 1_000
_SCAN_MAX = 5_000  # rows looked at for one page where a client sees only a part of them
_START = (0, 0)


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


async def read_changes(
    connection: Connection, cursors: Cursors, after: Sealed | None, limit: int, client_id: UUID | None
) -> ChangePage:
    """At most `limit` (1 to 1,000) changes behind `after`; None starts at the first one there ever was.

    A cursor may be given out once the transaction is proven (`Database.read`), and not before: of what only one node
    has, another one knows nothing, and gives its transaction ids to other changes.

    Args:
        connection: in a read transaction.
        cursors: seal and open the cursors of this API.
        after: a cursor from an earlier page.
        limit: changes in one page; a page with fewer, even none, need not be the last.
        client_id: show only this client's orders, and the catalogue; None: everything.

    Raises:
        CursorExpired: what the cursor stands at is not in the data as they are now.
    """
    bounded = max(1, min(limit, PAGE_MAX))
    generation = await read_generation(connection)
    transaction_id, sequence = _START if after is None else cursors.open(generation, after)
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
    rows = await found.fetchall()
    if not rows[0][0]:
        raise CursorExpired(START_AGAIN)
    changes: list[Change] = []
    position = cursors.seal("changes", generation, transaction_id, sequence)
    for _, xid, number, type_, subject, version, at, visible in rows:
        if xid is None or len(changes) == bounded:
            break
        position = cursors.seal("changes", generation, int(xid), number)
        if visible:
            changes.append(Change(position, type_, subject, version, at.astimezone(datetime.UTC)))
    return ChangePage(changes, position)
