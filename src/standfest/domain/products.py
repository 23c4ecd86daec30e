"""Products: what can be ordered, at what price, and how its stock is kept."""

from decimal import Decimal
from typing import Literal

import msgspec

TaxClass = Literal["standard", "reduced", "zero"]
StockPolicy = Literal["tracked", "untracked", "backorder"]
"""tracked: what is not there is refused; untracked: always there; backorder: what is not there is waited for."""


class Product(msgspec.Struct, frozen=True):
    """A product as the catalogue has it now."""

    id: int
    sku: str
    name_de: str
    name_en: str
    unit: str
    unit_decimals: int
    """Decimals of a quantity: its smallest step is 10^-unit_decimals."""
    net_price: Decimal
    """Major currency units for one whole unit, at most four decimals."""
    tax_class: TaxClass
    active: bool
    stock_policy: StockPolicy
    version: int
