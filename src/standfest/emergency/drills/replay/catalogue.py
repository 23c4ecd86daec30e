"""Catalogue and opening stock out of the orders' lines.

Name: the description that a code has most often (the first of equals), else the code; the file is in
English, so both languages get it. Price: the lower median of what was charged, so that one odd invoice does
not set it; each line carries its own price anyway. Opening stock: exactly the pieces ordered in the whole
file, so that every order can be placed in any sequence, and the same count put again changes nothing.
Charges and vouchers are untracked.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from statistics import median_low
from typing import Any

from standfest.emergency.drills.replay.judge import is_charge
from standfest.emergency.drills.replay.rows import Row

NAME_LENGTH_MAX = 100


@dataclass(frozen=True, slots=True)
class PlannedProduct:
    """One stock code of the file."""

    sku: str
    name: str
    net_price: Decimal
    ordered: int
    """Pieces ordered in the whole file."""
    tracked: bool

    def as_product(self) -> dict[str, Any]:
        """The entry for PUT /v1/products."""
        return {
            "sku": self.sku,
            "name": {"de": self.name, "en": self.name},
            "unit": "piece",
            "unit_decimals": 0,
            "net_price": price_text(self.net_price),
            "tax_class": "standard",
            "active": True,
            "stock_policy": "tracked" if self.tracked else "untracked",
        }

    def as_stock(self) -> dict[str, str]:
        """The entry for PUT /v1/stock."""
        return {"sku": self.sku, "on_hand": str(self.ordered)}


def price_text(price: Decimal) -> str:
    """A price as the API takes it: no exponent, no zeros at the end beyond two decimals."""
    whole, _, decimals = format(price, "f").partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def plan_products(order_rows: Iterable[Row]) -> tuple[PlannedProduct, ...]:
    """The products that these rows (orders' lines only) need, by stock code."""
    names: defaultdict[str, Counter[str]] = defaultdict(Counter)
    prices: defaultdict[str, list[Decimal]] = defaultdict(list)
    ordered: Counter[str] = Counter()
    for row in order_rows:
        prices[row.sku].append(row.unit_price)
        ordered[row.sku] += row.quantity
        if row.description:
            names[row.sku][row.description] += 1
    return tuple(
        PlannedProduct(sku, _name(sku, names[sku]), median_low(charged), ordered[sku], not is_charge(sku))
        for sku, charged in sorted(prices.items())
    )


def _name(sku: str, descriptions: Counter[str]) -> str:
    common = descriptions.most_common(1)
    return common[0][0][:NAME_LENGTH_MAX].rstrip() if common else sku
