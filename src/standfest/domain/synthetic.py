"""Synthetic orders: they take the journal path each second, so that it is never cold, and are no business."""

import datetime
from decimal import Decimal
from uuid import UUID, uuid4

from standfest.domain.canonical import plain_hash
from standfest.domain.identity import order_id
from standfest.domain.orders import Agreed, Line, Order, content_hash, line_net, totals
from standfest.domain.parties import Address, Customer

SYNTHETIC_CLIENT = UUID("00000000-0000-8000-8000-000000000001")
"""The client of every synthetic order, and the mark by which they are left out of lists, feed and figures."""

_NOBODY = "synthetic"


def synthetic_order(second: datetime.datetime, currency: str) -> Order:
    """The one synthetic order of this second (UTC): whoever makes it, it is the same."""
    at = second.astimezone(datetime.UTC).replace(microsecond=0)
    return _synthetic(at.isoformat(), at, currency)


def trial_order() -> Order:
    """A synthetic order like no other, to try out whether orders can be written: it is taken back."""
    return _synthetic(str(uuid4()), datetime.datetime.now(datetime.UTC), "EUR")


def _synthetic(key: str, at: datetime.datetime, currency: str) -> Order:
    request_hash = plain_hash({_NOBODY: key})
    price = Decimal("0.0000")
    line = Line(
        position=1,
        product_id=0,
        sku=_NOBODY,
        name_de=_NOBODY,
        name_en=_NOBODY,
        unit="piece",
        unit_decimals=0,
        quantity=1,
        unit_price=price,
        net=line_net(1, 0, price),
        tax_class="zero",
        tax_category="Z",
        tax_rate=Decimal("0.00"),
        stock_policy="untracked",
    )
    agreed = Agreed(
        customer=Customer(name=_NOBODY),
        ship_to=Address(name=_NOBODY, street=_NOBODY, postal_code="0", city=_NOBODY, country="DE"),
    )
    sums = totals((line,))
    return Order(
        order_id=order_id(SYNTHETIC_CLIENT, key, request_hash),
        client_id=SYNTHETIC_CLIENT,
        idempotency_key=key,
        request_hash=request_hash,
        content_hash=content_hash(currency, agreed, (line,), sums),
        status="received",
        version=1,
        path="direct",
        accepted_at=at,
        external_reference=None,
        currency=currency,
        agreed=agreed,
        lines=(line,),
        totals=sums,
    )
