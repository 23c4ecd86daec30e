"""Entries of the journal that a drainer leaves for its next round, and the batches that entries are written in."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from uuid import UUID

import msgspec

from standfest.domain.orders import Order
from standfest.intake.journal import Waiting

BATCH_LINES_MAX = 4_000
ALONE_MAX, ALONE_S = 5, 10.0
"""An entry that fails alone so often, and for so long, while a synthetic order can be written, is set apart."""

Pair = tuple[Waiting, Order]
"""An entry, and the order in it."""


class Alone(msgspec.Struct, frozen=True):
    """How an entry fared that was tried alone while a synthetic order could be written."""

    times: int = 0
    """It failed so often for what may be its own fault."""
    since: float = 0.0
    """When it first did so, in monotonic seconds."""

    def again(self, now: float) -> "Alone":
        """After one more such failure."""
        return Alone(self.times + 1, self.since if self.times else now)

    def is_enough(self, now: float) -> bool:
        """Whether it is the entry's own fault by now."""
        return self.times >= ALONE_MAX and now - self.since >= ALONE_S


class LeftAside:
    """Entries that a round left for the next one, and the goods that they want, which later ones must not take."""

    def __init__(self, alone: Mapping[UUID, Alone] = {}) -> None:
        """`alone`: entries that were tried alone in earlier rounds and wait still."""
        self.order_ids: set[UUID] = set()
        self.alone = dict(alone)
        """Entries that failed when they were tried alone: they are never tried in company again."""
        self._products: set[int] = set()

    def __contains__(self, pair: Pair) -> bool:
        order_id = pair[0].order_id
        return order_id in self.order_ids or order_id in self.alone or self.has_goods_of(pair)

    @property
    def waiting(self) -> set[UUID]:
        """Entries that were left, in this round or an earlier one."""
        return self.order_ids | self.alone.keys()

    def add(self, pair: Pair) -> None:
        """Leaves an entry."""
        self.order_ids.add(pair[0].order_id)
        self._products |= products_of(pair[1])

    def add_alone(self, pair: Pair, failed: Alone) -> None:
        """Leaves an entry that failed when it was tried alone."""
        self.add(pair)
        self.alone[pair[0].order_id] = failed

    def hold(self, products: set[int]) -> None:
        """Leaves whatever wants one of these products."""
        self._products |= products

    def has_goods_of(self, pair: Pair) -> bool:
        """Whether an entry that was left wants some of the goods of this one."""
        return bool(self._products) and not self._products.isdisjoint(products_of(pair[1]))

    def batches(self, pairs: Sequence[Pair], batch_max: int) -> Iterator[list[Pair]]:
        """These entries in their order, `batch_max` at a time; those that were tried alone alone again."""
        for alone, group in groupby(pairs, lambda pair: pair[0].order_id in self.alone):
            some = list(group)
            size = 1 if alone else batch_max
            for start in range(0, len(some), size):
                yield from batches_of(some[start : start + size])


def products_of(order: Order) -> set[int]:
    """What of it is kept in stock."""
    return {line.product_id for line in order.lines if line.stock_policy != "untracked"}


def batches_of(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """In the order given, bounded by lines, and no two with one client and key together."""
    batches: list[list[Pair]] = []
    keys: set[object] = set()
    lines = 0
    for pair in pairs:
        order = pair[1]
        key = (order.client_id, order.idempotency_key)
        lines += len(order.lines)
        if not batches or key in keys or lines > BATCH_LINES_MAX:
            batches.append([])
            keys.clear()
            lines = len(order.lines)
        keys.add(key)
        batches[-1].append(pair)
    return batches
