"""The facts of decided orders, spread into the columns that the statements take."""

from collections.abc import Sequence
from typing import Any

import msgspec

from standfest.domain.events import EventType, OrderEvent, next_event
from standfest.domain.lifecycle import State
from standfest.domain.orders import Order
from standfest.domain.stock import Decision, Shortage

_EVENT_OF: dict[State, EventType] = {
    "confirmed": "order.confirmed",
    "backordered": "order.backordered",
    "declined": "order.declined",
    "conflict": "order.conflict",
}
_STATE_OF = {event: state for state, event in _EVENT_OF.items()}


class _Remembered(msgspec.Struct, frozen=True):
    shortages: tuple[Shortage, ...] = ()


def head_columns(decisions: Sequence[Decision]) -> dict[str, list[Any]]:
    """Parameters of `intake/claim`: the orders as decided at first, which is how nearly all of them end."""
    orders = [decision.order for decision in decisions]
    return {
        "order_id": [order.order_id for order in orders],
        "client_id": [order.client_id for order in orders],
        "idempotency_key": [order.idempotency_key for order in orders],
        "request_hash": [order.request_hash for order in orders],
        "content_hash": [order.content_hash for order in orders],
        "status": [order.status for order in orders],
        "path": [order.path for order in orders],
        "accepted_at": [order.accepted_at for order in orders],
        "customer_reference": [order.agreed.customer.reference for order in orders],
        "external_reference": [order.external_reference for order in orders],
        "currency": [order.currency for order in orders],
        "net": [order.totals.net for order in orders],
        "gross": [order.totals.gross for order in orders],
        "agreed": [msgspec.json.encode(order.agreed).decode() for order in orders],
    }


def decision_columns(decisions: Sequence[Decision]) -> dict[str, list[Any]]:
    """Parameters of `intake/write`: lines with what is reserved, and each order's first event."""
    lines = [(decision.order.order_id, line) for decision in decisions for line in decision.order.lines]
    events = [placement_event(decision) for decision in decisions]
    return {
        "order_id": [decision.order.order_id for decision in decisions],
        "event_type": [event.type for event in events],
        "actor": [event.actor for event in events],
        "at": [event.at for event in events],
        "data": [None if event.data is None else msgspec.json.encode(event.data).decode() for event in events],
        "content_hash": [event.content_hash for event in events],
        "chain_hash": [event.chain_hash for event in events],
        "line_order_id": [order_id for order_id, _ in lines],
        "position": [line.position for _, line in lines],
        "product_id": [line.product_id for _, line in lines],
        "sku": [line.sku for _, line in lines],
        "name_de": [line.name_de for _, line in lines],
        "name_en": [line.name_en for _, line in lines],
        "unit": [line.unit for _, line in lines],
        "unit_decimals": [line.unit_decimals for _, line in lines],
        "quantity": [line.quantity for _, line in lines],
        "unit_price": [line.unit_price for _, line in lines],
        "line_net": [line.net for _, line in lines],
        "tax_class": [line.tax_class for _, line in lines],
        "tax_category": [line.tax_category for _, line in lines],
        "tax_rate": [line.tax_rate for _, line in lines],
        "stock_policy": [line.stock_policy for _, line in lines],
        "reserved": [line.reserved for _, line in lines],
        "backordered": [line.backordered for _, line in lines],
        "note": [line.note for _, line in lines],
    }


def placement_event(decision: Decision) -> OrderEvent:
    """The first event of an order; a declined one keeps what was short, so that a repeat is told the same."""
    order = decision.order
    data = dict(decision.details or {})
    if decision.shortages:
        data |= msgspec.to_builtins(_Remembered(decision.shortages))
    return next_event(
        b"",
        version=1,
        type=_EVENT_OF[order.status],
        actor=f"client:{order.client_id}",
        at=order.accepted_at,
        content_hash=order.content_hash,
        data=data or None,
    )


def remembered(order: Order, first: OrderEvent) -> tuple[State, tuple[Shortage, ...]]:
    """What was decided, and what was short, as an order's first event remembers it.

    A first event of a kind that a later release writes says nothing here: then the order's state counts.
    """
    shortages = () if first.data is None else msgspec.convert(first.data, _Remembered).shortages
    return _STATE_OF.get(first.type, order.status), shortages
