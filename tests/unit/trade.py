"""Orders for the tests of what is decided about them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from standfest.domain.lifecycle import State
from standfest.domain.orders import Agreed, Line, Order, content_hash, line_net, totals
from standfest.domain.products import StockPolicy
from standfest.domain.request import AddressRequest, CustomerRequest

AGREED = Agreed(CustomerRequest("Ada"), AddressRequest("Ada", "Weg 1", "10115", "Berlin", "DE"))


def line(position: int, quantity: int, policy: StockPolicy = "tracked", **values: object) -> Line:
    """A line of a product of its own (its id is the position), sold by the piece at 2.50."""
    made = Line(
        position=position,
        product_id=position,
        sku=f"sku-{position}",
        name_de="x",
        name_en="x",
        unit="piece",
        unit_decimals=0,
        quantity=quantity,
        unit_price=Decimal("2.50"),
        net=Decimal(0),
        tax_class="standard",
        tax_category="S",
        tax_rate=Decimal("19.00"),
        stock_policy=policy,
    )
    made = msgspec.structs.replace(made, **values)
    return msgspec.structs.replace(made, net=line_net(made.open, made.unit_decimals, made.unit_price))


def order_of(status: State, *lines: Line) -> Order:
    """An order in a state, with totals and content hash that fit its lines."""
    sums = totals(lines)
    return Order(
        order_id=UUID(int=1),
        client_id=UUID(int=2),
        idempotency_key="k",
        request_hash=b"",
        content_hash=content_hash("EUR", AGREED, lines, sums),
        status=status,
        version=1,
        path="direct",
        accepted_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        external_reference=None,
        currency="EUR",
        agreed=AGREED,
        lines=lines,
        totals=sums,
    )
