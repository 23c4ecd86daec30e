"""What orders that wait in the journal want of each product: newcomers on the direct path do not take it from them.

Entries are read up to a bound. Of those that were not read it is assumed that each wants as much as several of the
newcomer's own lines: exact where few wait, a margin where many do.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from standfest.domain.orders import Order
from standfest.domain.synthetic import SYNTHETIC_CLIENT

SCARCE_LINES = 64
"""Goods of which less is left than so many lines would take are scarce: who waits in the journal is asked before they
are given away. Others may have been accepted since the last look."""
UNKNOWN_ENTRIES = 10_000
"""So many entries are taken to wait unread where the journal is there and did not tell in time."""
LINES_AN_UNREAD_ENTRY = 4
"""An entry that was not read is taken to want as much as so many lines of the newcomer."""


class Demand(msgspec.Struct, frozen=True):
    """What waits, as far as it was read."""

    wanted: Mapping[int, int] = {}
    """Product id -> steps, of entries that were read."""
    unread: int = 0
    """Entries that were not read."""

    @property
    def scarce_lines(self) -> int:
        """Goods of which less is left than so many of the newcomer's lines would take have to be asked for."""
        return SCARCE_LINES + LINES_AN_UNREAD_ENTRY * self.unread

    def held(self, product_id: int, largest: int) -> int:
        """Steps of a product that are kept for those who wait, where the newcomers' largest line takes `largest`."""
        return self.wanted.get(product_id, 0) + LINES_AN_UNREAD_ENTRY * self.unread * largest

    def held_of(self, orders: Sequence[Order]) -> dict[int, int]:
        """The same for all that is kept in stock in these orders; products of which nothing is held are left out."""
        if not self.wanted and not self.unread:
            return {}
        largest: dict[int, int] = {}
        for order in orders:
            for line in order.lines:
                if line.stock_policy != "untracked":
                    largest[line.product_id] = max(line.quantity, largest.get(line.product_id, 0))
        held = {product_id: self.held(product_id, quantity) for product_id, quantity in largest.items()}
        return {product_id: steps for product_id, steps in held.items() if steps}


def demand_of(orders: Iterable[Order], unread: int = 0) -> Demand:
    """What these orders want, beside `unread` entries that could not be looked at."""
    wanted: Counter[int] = Counter()
    for order in orders:
        if order.client_id == SYNTHETIC_CLIENT:
            continue
        for line in order.lines:
            if line.stock_policy != "untracked":
                wanted[line.product_id] += line.quantity
    return Demand(dict(wanted), unread)
