"""A wholesaler's file as a source of traffic: its invoices, in their sequence, as orders of a run of their own."""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from standfest.emergency.drills.replay.plan import PlannedOrder, make_plan
from standfest.emergency.drills.replay.rows import FileUnusable, open_file, read_rows
from standfest.emergency.drills.traffic.generator import MadeOrder, OrderGenerator, Product, canonical

ORDERS_MAX = 500
"""How many invoices of a file are taken; a longer run begins with the first one again, as another order."""
ON_HAND = 100_000_000
"""Pieces of each product: the file's orders shall not run short, however often they come round."""


class FileOrders(OrderGenerator):
    """Orders of a file. SKUs carry the run's name, so that no other run and no replay shares their stock."""

    def __init__(self, orders: Sequence[PlannedOrder], *, run: str) -> None:
        super().__init__(_products(orders, run), seed=0, run=run)
        self._orders = orders

    def order(self, number: int) -> MadeOrder:
        """The order with this number in the run."""
        planned = self._orders[number % len(self._orders)]
        nonce = self.nonce(number)
        body = planned.body() | {"external_reference": nonce}
        body["lines"] = [line | {"sku": _sku(self.run, line["sku"])} for line in body["lines"]]
        return MadeOrder(self.key(number), nonce, body, canonical(body))


def read_orders(path: Path) -> list[PlannedOrder]:
    """The first invoices of a file that are orders; FileUnusable where it has none or cannot be read."""
    with open_file(path) as lines:
        plan = make_plan(read_rows(lines))
    orders = [step for step in plan.steps if isinstance(step, PlannedOrder)]
    if not orders:
        raise FileUnusable(f"{path} has no invoice that is an order")
    return orders[:ORDERS_MAX]


def _products(orders: Sequence[PlannedOrder], run: str) -> list[Product]:
    prices: dict[str, Decimal] = {}
    for order in orders:
        for line in order.lines:
            prices.setdefault(line.sku, line.unit_price)
    return [Product(_sku(run, sku), sku, price, "tracked", ON_HAND) for sku, price in sorted(prices.items())]


def _sku(run: str, sku: str) -> str:
    whole = f"DEMO-{run}-{sku}"
    if len(whole) <= 64:
        return whole
    return f"DEMO-{run}-{hashlib.sha256(sku.encode()).hexdigest()[:16]}"
