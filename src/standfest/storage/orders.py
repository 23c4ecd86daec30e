"""Orders as rows: read back whole, with their events."""

import datetime
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from standfest.domain.events import OrderEvent
from standfest.domain.orders import Agreed, Line, Order, totals
from standfest.storage.connection import Connection
from standfest.storage.statements import statement

_agreed = msgspec.json.Decoder(Agreed)
_lines = msgspec.json.Decoder(tuple[Line, ...])


async def read_orders(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, Order]:
    """The orders with these ids that exist, each as it stands now."""
    cursor = await connection.execute(statement("read_orders"), {"order_id": list(order_ids)})
    return {row[0]: _order(row) for row in await cursor.fetchall()}


async def read_events(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, tuple[OrderEvent, ...]]:
    """The events of these orders, oldest first."""
    cursor = await connection.execute(statement("read_events"), {"order_id": list(order_ids)})
    events: dict[UUID, list[OrderEvent]] = {}
    async for order_id, version, type_, actor, at, reason, data, content_hash, chain_hash in cursor:
        event = OrderEvent(version, type_, actor, _utc(at), reason, data, content_hash, chain_hash)
        events.setdefault(order_id, []).append(event)
    return {order_id: tuple(of_order) for order_id, of_order in events.items()}


def _order(row: tuple[Any, ...]) -> Order:
    lines = _lines.decode(row[12])
    return Order(
        order_id=row[0],
        client_id=row[1],
        idempotency_key=row[2],
        request_hash=row[3],
        content_hash=row[4],
        status=row[5],
        version=row[6],
        path=row[7],
        accepted_at=_utc(row[8]),
        external_reference=row[9],
        currency=row[10],
        agreed=_agreed.decode(row[11]),
        lines=lines,
        totals=totals(lines),
    )


def _utc(moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(datetime.UTC)
