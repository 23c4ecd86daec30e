"""Writing what became of orders: rows, stock, events and changes, for many orders in one transaction."""

import datetime
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from standfest.domain.events import EventType, OrderEvent, next_event
from standfest.domain.orders import Line, Order
from standfest.sales.errors import VersionsBroken
from standfest.storage.connection import Connection
from standfest.storage.statements import statement


class Changed(msgspec.Struct, frozen=True):
    """An order before and after a command, and the event that says so."""

    before: Order
    after: Order
    """Its version is one more."""
    event_type: EventType
    actor: str
    at: datetime.datetime
    reason: str | None
    data: dict[str, Any] | None


async def write_changes(connection: Connection, changed: Sequence[Changed]) -> None:
    """Writes changed orders in the caller's transaction, which has locked them; then locks and moves their stock.

    Where an order waits for more or less than before, its stock is locked before its lines are written: the line's
    trigger writes there.

    Raises:
        VersionsBroken: an order is not at the version it was read at.
    """
    order_ids = [change.after.order_id for change in changed]
    cursor = await connection.execute(statement("sales/last_chain_hashes"), {"order_id": order_ids})
    chain_hashes: dict[UUID, bytes] = dict(await cursor.fetchall())
    if len(chain_hashes) != len(changed):
        raise VersionsBroken("an order has no event for its version: see `standfest doctor`")
    cursor = await connection.execute(statement("sales/update_orders"), _order_columns(changed))
    if len(await cursor.fetchall()) != len(changed):
        raise VersionsBroken("an order that was locked has another version than was read: see `standfest doctor`")
    await _lock_stock(connection, changed)
    await connection.execute(statement("sales/update_lines"), _line_columns(changed))
    events = [_event(change, chain_hashes[change.after.order_id]) for change in changed]
    await connection.execute(statement("sales/append_events"), {"order_id": order_ids} | _event_columns(events))
    await _move_stock(connection, changed)


async def _lock_stock(connection: Connection, changed: Sequence[Changed]) -> None:
    pairs = [pair for change in changed for pair in _changed_lines(change)]
    if any(old.backordered != new.backordered for old, new in pairs):
        products = sorted({new.product_id for _, new in pairs})
        await connection.execute(statement("sales/lock_stock"), {"product_id": products})


async def _move_stock(connection: Connection, changed: Sequence[Changed]) -> None:
    moved: Counter[int] = Counter()
    for change in changed:
        for old, new in _changed_lines(change):
            moved[new.product_id] += new.reserved - old.reserved
    products = sorted(product_id for product_id, steps in moved.items() if steps)
    if products:
        values = {"product_id": products, "quantity": [moved[product_id] for product_id in products]}
        await connection.exchange.run((statement("sales/move_stock"), values))


def _event(change: Changed, previous_chain_hash: bytes) -> OrderEvent:
    return next_event(
        previous_chain_hash,
        version=change.after.version,
        type=change.event_type,
        actor=change.actor,
        at=change.at,
        content_hash=change.after.content_hash,
        reason=change.reason,
        data=change.data,
    )


def _changed_lines(change: Changed) -> list[tuple[Line, Line]]:
    pairs = zip(change.before.lines, change.after.lines, strict=True)
    return [(old, new) for old, new in pairs if old != new]


def _order_columns(changed: Sequence[Changed]) -> dict[str, list[Any]]:
    orders = [change.after for change in changed]
    return {
        "order_id": [order.order_id for order in orders],
        "status": [order.status for order in orders],
        "version": [order.version for order in orders],
        "content_hash": [order.content_hash for order in orders],
        "net": [order.totals.net for order in orders],
        "gross": [order.totals.gross for order in orders],
    }


def _line_columns(changed: Sequence[Changed]) -> dict[str, list[Any]]:
    lines = [(change.after.order_id, new) for change in changed for _, new in _changed_lines(change)]
    return {
        "line_order_id": [order_id for order_id, _ in lines],
        "position": [line.position for _, line in lines],
        "line_net": [line.net for _, line in lines],
        "reserved": [line.reserved for _, line in lines],
        "backordered": [line.backordered for _, line in lines],
        "cancelled": [line.cancelled for _, line in lines],
    }


def _event_columns(events: Sequence[OrderEvent]) -> dict[str, list[Any]]:
    return {
        "version": [event.version for event in events],
        "type": [event.type for event in events],
        "actor": [event.actor for event in events],
        "at": [event.at for event in events],
        "reason": [event.reason for event in events],
        "data": [None if event.data is None else msgspec.json.encode(event.data).decode() for event in events],
        "content_hash": [event.content_hash for event in events],
        "chain_hash": [event.chain_hash for event in events],
    }
