"""Deciding on orders by what is in stock.

Invariant kept here: for every product, what these decisions reserve is at most what was available.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from standfest.domain.lifecycle import State
from standfest.domain.orders import Line, Order


class Shortage(msgspec.Struct, frozen=True):
    """A line that could not be promised. Quantities are steps of 10^-unit_decimals."""

    position: int
    sku: str
    unit_decimals: int
    requested: int
    available: int


class Decision(msgspec.Struct, frozen=True):
    """What becomes of an order: confirmed, backordered, declined or set aside, with its lines' reservations."""

    order: Order
    shortages: tuple[Shortage, ...] = ()
    details: dict[str, Any] | None = None
    """What else its first event keeps, as JSON values."""


def in_full(order: Order) -> Decision:
    """The order confirmed, with all that is kept in stock reserved: to be carried out only where it is there."""
    lines = tuple(
        line if line.stock_policy == "untracked" else msgspec.structs.replace(line, reserved=line.quantity)
        for line in order.lines
    )
    return Decision(msgspec.structs.replace(order, status="confirmed", lines=lines))


def set_aside(order: Order, holder: UUID) -> Decision:
    """The order in conflict: accepted under a key that order `holder` holds. Nothing is reserved; a person decides.

    It is stored under a key that no client can send: there is a space in it.
    """
    details = {"idempotency_key": order.idempotency_key, "held_by": str(holder)}
    aside = msgspec.structs.replace(order, status="conflict", idempotency_key=f"conflict {order.order_id}")
    return Decision(aside, details=details)


def allocate(orders: Iterable[Order], available: Mapping[int, int]) -> list[Decision]:
    """Decides order by order, first come first served, so that one order never fails its neighbours.

    Args:
        orders: received orders, in the order in which they came.
        available: product id -> steps that are free; what is missing counts as 0.
    """
    free = Counter(available)
    decisions = []
    for order in orders:
        decision = _decide(order, free)
        for line in decision.order.lines:
            free[line.product_id] -= line.reserved
        decisions.append(decision)
    return decisions


def _decide(order: Order, free: Mapping[int, int]) -> Decision:
    left = Counter({line.product_id: max(free[line.product_id], 0) for line in order.lines})
    lines: list[Line] = []
    shortages: list[Shortage] = []
    for line in order.lines:
        if line.stock_policy == "untracked":
            lines.append(line)
            continue
        reserved = min(line.quantity, left[line.product_id])
        missing = line.quantity - reserved
        if missing and line.stock_policy == "tracked":
            shortages.append(
                Shortage(
                    position=line.position,
                    sku=line.sku,
                    unit_decimals=line.unit_decimals,
                    requested=line.quantity,
                    available=left[line.product_id],
                )
            )
            continue
        left[line.product_id] -= reserved
        lines.append(msgspec.structs.replace(line, reserved=reserved, backordered=missing))
    if shortages:
        return Decision(msgspec.structs.replace(order, status="declined"), tuple(shortages))
    status: State = "backordered" if any(line.backordered for line in lines) else "confirmed"
    return Decision(msgspec.structs.replace(order, status=status, lines=tuple(lines)))


def scarce_after(decisions: Iterable[Decision], available: Mapping[int, int], scarce_lines: int) -> set[int]:
    """Products that these decisions queue for, or of which they leave less than so many lines would take.

    Args:
        decisions: what `allocate` decided.
        available: product id -> steps that were free before it.
        scarce_lines: that many of the largest line that takes of the product.
    """
    taken: Counter[int] = Counter()
    largest: Counter[int] = Counter()
    scarce: set[int] = set()
    for decision in decisions:
        for line in decision.order.lines:
            if line.reserved:
                taken[line.product_id] += line.reserved
                largest[line.product_id] = max(largest[line.product_id], line.reserved)
            if line.backordered:
                scarce.add(line.product_id)
    return scarce | {
        product_id
        for product_id, steps in taken.items()
        if (available.get(product_id, 0) - steps) // largest[product_id] < scarce_lines
    }
