"""Giving goods that came in to the orders that wait for them, first come first served.

Invariant kept here: for every product, what these decisions reserve is at most what was available.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from standfest.domain.lifecycle import State
from standfest.domain.orders import Line, Order
from standfest.domain.quantity import from_steps


class Supplied(msgspec.Struct, frozen=True):
    """An order that got at least a part of what it waited for."""

    before: Order
    order: Order
    """The order afterwards: confirmed where nothing is missing any more."""
    data: dict[str, Any]
    """The event's details: how much was reserved on which line."""


def supply(orders: Iterable[Order], available: Mapping[int, int]) -> list[Supplied]:
    """Decides order by order what each gets; a part is kept, and orders that get nothing are left out.

    Args:
        orders: in state `backordered`, in the order in which they came.
        available: product id -> steps that are free; a product that is missing gives nothing.
    """
    free = Counter({product_id: max(steps, 0) for product_id, steps in available.items()})
    supplied = []
    for order in orders:
        lines = tuple(_supply_line(line, free) for line in order.lines)
        if lines == order.lines:
            continue
        status: State = "backordered" if any(line.backordered for line in lines) else "confirmed"
        after = msgspec.structs.replace(order, status=status, version=order.version + 1, lines=lines)
        supplied.append(Supplied(order, after, _details(order.lines, lines)))
    return supplied


def _supply_line(line: Line, free: Counter[int]) -> Line:
    """The line with what it gets, which is taken off `free`."""
    got = min(line.backordered, free[line.product_id])
    if got == 0:
        return line
    free[line.product_id] -= got
    return msgspec.structs.replace(line, reserved=line.reserved + got, backordered=line.backordered - got)


def _details(before: Iterable[Line], after: Iterable[Line]) -> dict[str, Any]:
    return {
        "reserved": [
            {
                "position": new.position,
                "sku": new.sku,
                "quantity": from_steps(new.reserved - old.reserved, new.unit_decimals),
            }
            for old, new in zip(before, after, strict=True)
            if new.reserved != old.reserved
        ]
    }
