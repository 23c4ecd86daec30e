"""An order with its lines: what was agreed, and what became of it."""

import datetime
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from standfest.domain.canonical import plain_hash
from standfest.domain.lifecycle import State
from standfest.domain.money import round_amount
from standfest.domain.parties import Address, Customer
from standfest.domain.products import StockPolicy, TaxClass
from standfest.domain.tax import TaxGroup, tax_groups


class Line(msgspec.Struct, frozen=True):
    """One line: a snapshot of what was agreed. Quantities are steps of 10^-unit_decimals."""

    position: int
    """From 1."""
    product_id: int
    sku: str
    name_de: str
    name_en: str
    unit: str
    unit_decimals: int
    quantity: int
    """As ordered; what was cancelled of it is in `cancelled`."""
    unit_price: Decimal
    net: Decimal
    """Of what is not cancelled: (quantity - cancelled) x unit_price, rounded."""
    tax_class: TaxClass
    tax_category: str
    tax_rate: Decimal
    stock_policy: StockPolicy
    reserved: int = 0
    backordered: int = 0
    cancelled: int = 0
    note: str | None = None

    @property
    def open(self) -> int:
        """Steps that are still wanted."""
        return self.quantity - self.cancelled


class Agreed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was agreed apart from the lines."""

    customer: Customer
    ship_to: Address
    bill_to: Address | None = None
    requested_delivery: datetime.date | None = None
    note: str | None = None


class Totals(msgspec.Struct, frozen=True):
    """Net, tax by rate, and gross, in major currency units with two decimals."""

    net: Decimal
    tax: tuple[TaxGroup, ...]
    gross: Decimal


class Order(msgspec.Struct, frozen=True):
    """An order as it stands at `version`."""

    order_id: UUID
    client_id: UUID
    idempotency_key: str
    request_hash: bytes
    content_hash: bytes
    status: State
    version: int
    path: str
    """`direct` or `journal`: how it was accepted."""
    accepted_at: datetime.datetime
    external_reference: str | None
    currency: str
    agreed: Agreed
    lines: tuple[Line, ...]
    totals: Totals


def line_net(quantity: int, unit_decimals: int, unit_price: Decimal) -> Decimal:
    """The net amount of a quantity (EN 16931, BT-131): rounded to two decimals."""
    return round_amount(Decimal(quantity).scaleb(-unit_decimals) * unit_price)


def totals(lines: Iterable[Line]) -> Totals:
    """Net, tax and gross of what is not cancelled (EN 16931, BR-CO-13 to BR-CO-15)."""
    groups = tax_groups((line.tax_category, line.tax_rate, line.net) for line in lines if line.open)
    net = sum((group.base for group in groups), Decimal("0.00"))
    return Totals(net, groups, net + sum((group.amount for group in groups), Decimal("0.00")))


def content_hash(currency: str, agreed: Agreed, lines: Iterable[Line], totals: Totals) -> bytes:
    """SHA-256 over what is agreed now: parties, currency, lines that are open, prices, tax, totals; 32 bytes.

    What the warehouse does with it (reserved, backordered) is no part of the agreement.
    """
    return plain_hash(
        {
            "currency": currency,
            "agreed": msgspec.to_builtins(agreed),
            "lines": [_line_content(line) for line in lines if line.open],
            "totals": _totals_content(totals),
        }
    )


def _line_content(line: Line) -> dict[str, Any]:
    return {
        "position": line.position,
        "sku": line.sku,
        "quantity": str(line.open),
        "unit": line.unit,
        "unit_decimals": line.unit_decimals,
        "unit_price": f"{line.unit_price:.4f}",
        "net": f"{line.net:.2f}",
        "tax_category": line.tax_category,
        "tax_rate": f"{line.tax_rate:.2f}",
        "note": line.note,
    }


def _totals_content(totals: Totals) -> dict[str, Any]:
    return {
        "net": f"{totals.net:.2f}",
        "tax": [
            [group.category, f"{group.rate:.2f}", f"{group.base:.2f}", f"{group.amount:.2f}"] for group in totals.tax
        ],
        "gross": f"{totals.gross:.2f}",
    }
