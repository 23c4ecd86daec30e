"""Reading what the audit compares, many orders a statement, in the caller's transaction."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from standfest.domain.events import OrderEvent
from standfest.domain.orders import Line
from standfest.domain.synthetic import SYNTHETIC_CLIENT
from standfest.intake.audit.model import Agreement, StoredOrder
from standfest.storage.connection import Connection
from standfest.storage.statements import statement

_decode = msgspec.json.Decoder().decode
_decode_lines = msgspec.json.Decoder(tuple[Line, ...]).decode

_UNREADABLE = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
"""What decoding raises for JSON that somebody edited: numbers without end and depths without bottom among it."""


async def read_agreements(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, Agreement]:
    """As much of these orders as their receipts speak of; orders that are not there are left out."""
    cursor = await connection.execute(statement("audit/read_agreements"), {"order_id": list(order_ids)})
    return {row[0]: Agreement(*row[1:]) for row in await cursor.fetchall()}


async def find_positions(connection: Connection, order_ids: Sequence[UUID]) -> list[int]:
    """The ingest positions of these orders, synthetic ones left out."""
    values = {"order_id": list(order_ids), "synthetic": SYNTHETIC_CLIENT}
    cursor = await connection.execute(statement("audit/find_positions"), values)
    return [position for (position,) in await cursor.fetchall()]


async def next_positions(connection: Connection, after: int, upto: int, orders_max: int) -> list[int]:
    """The next ingest positions above `after` and up to `upto`, in order, synthetic orders left out."""
    values = {"after": after, "upto": upto, "orders_max": orders_max, "synthetic": SYNTHETIC_CLIENT}
    cursor = await connection.execute(statement("audit/next_positions"), values)
    return [position for (position,) in await cursor.fetchall()]


async def last_position(connection: Connection) -> int:
    """The highest ingest position now; 0 where there is no order."""
    cursor = await connection.execute(statement("audit/last_position"))
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def read_stored(connection: Connection, positions: Sequence[int]) -> dict[UUID, StoredOrder]:
    """The orders at these ingest positions, whole."""
    if not positions:
        return {}
    values = {"position": list(positions)}
    cursor = await connection.execute(statement("audit/read_events"), values)
    events: dict[int, list[OrderEvent]] = {}
    for position, *facts in await cursor.fetchall():
        events.setdefault(position, []).append(_event(facts))
    cursor = await connection.execute(statement("audit/read_orders"), values)
    return {row[1]: _stored(row, tuple(events.get(row[0], ()))) for row in await cursor.fetchall()}


def _stored(row: tuple[Any, ...], events: tuple[OrderEvent, ...]) -> StoredOrder:
    *columns, agreed, lines = row
    parties = _json(agreed)
    return StoredOrder(*(*columns, parties if isinstance(parties, dict) else None, _lines(lines), events))


def _event(facts: Sequence[Any]) -> OrderEvent:
    version, type_, actor, at, reason, data, content_hash, chain_hash = facts
    details = None if data is None else _json(data)
    return OrderEvent(version, type_, actor, at, reason, details, content_hash, chain_hash)


def _json(text: str) -> Any:
    """What a JSON text says; the text itself, which is nothing that was ever stored, where it says nothing readable."""
    try:
        return _decode(text)
    except _UNREADABLE:
        return text


def _lines(text: str | None) -> tuple[Line, ...] | None:
    try:
        return () if text is None else _decode_lines(text)
    except _UNREADABLE:
        return None
