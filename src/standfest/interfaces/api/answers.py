"""What successful answers look like. Money and quantities are decimal strings."""

import datetime
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from standfest.domain.events import OrderEvent
from standfest.domain.identity import order_number
from standfest.domain.orders import Line, Order
from standfest.domain.parties import Address, Customer
from standfest.domain.products import TaxClass
from standfest.domain.quantity import from_steps
from standfest.domain.stock import Shortage
from standfest.intake.receipts import Receipt
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.texts import NameText

Amount = Annotated[str, Meta(pattern=r"^-?[0-9]+\.[0-9]{2}$")]
Price = Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]{2,4}$")]
Quantity = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]{1,3})?$")]
Percent = Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]{2}$")]
STATUSES = ("confirmed", "backordered", "declined", "cancelled", "conflict")
"""Those that this release stores; an order that is only `accepted` waits in the journal, and is in no list yet."""
Status = Annotated[
    str,
    Meta(
        description=f"One of accepted, {', '.join(STATUSES)}; a later release may have more: treat those as not final",
        examples=["confirmed"],
    ),
]


class Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name in both languages."""

    de: NameText
    en: NameText


class LineAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line as agreed, with what became of it."""

    position: int
    sku: str
    name: Name
    quantity: Quantity
    unit: str
    unit_price: Price
    net: Amount
    """Of what is not cancelled."""
    tax_class: TaxClass
    tax_rate: Percent
    tax_category: str
    reserved: Quantity
    backordered: Quantity
    cancelled: Quantity
    note: str | None = None


class TaxAnswer(msgspec.Struct, frozen=True):
    """The tax of one category and rate."""

    category: str
    rate: Percent
    base: Amount
    amount: Amount


class TotalsAnswer(msgspec.Struct, frozen=True):
    """The sums of an order."""

    net: Amount
    tax: tuple[TaxAnswer, ...]
    gross: Amount


class OrderAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order as it stands."""

    id: UUID
    number: str
    status: Status
    version: int
    accepted_at: datetime.datetime
    currency: str
    customer: Customer
    ship_to: Address
    lines: tuple[LineAnswer, ...]
    totals: TotalsAnswer
    bill_to: Address | None = None
    requested_delivery: datetime.date | None = None
    external_reference: str | None = None
    note: str | None = None
    receipt: Receipt | None = None
    """What was promised when it was placed; `GET .../receipt` has it signed. Not in lists."""


class ShortageAnswer(msgspec.Struct, frozen=True):
    """What was short in a declined order, a line."""

    position: int
    sku: str
    requested: Quantity
    available: Quantity


class EventAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of an order."""

    version: int
    type: str
    actor: str
    at: datetime.datetime
    content_hash: str
    chain_hash: str
    reason: str | None = None
    data: dict[str, Any] | None = None


class EventsAnswer(msgspec.Struct, frozen=True):
    """All changes of an order, oldest first."""

    events: tuple[EventAnswer, ...]


def order_answer(order: Order, receipt: Receipt | None = None) -> OrderAnswer:
    """An order as clients see it."""
    agreed = order.agreed
    return OrderAnswer(
        id=order.order_id,
        number=receipt.number if receipt else order_number(order.order_id),
        status=order.status,
        version=order.version,
        accepted_at=order.accepted_at,
        currency=order.currency,
        customer=agreed.customer,
        ship_to=agreed.ship_to,
        lines=tuple(_line(line) for line in order.lines),
        totals=TotalsAnswer(
            net=amount(order.totals.net),
            tax=tuple(
                TaxAnswer(group.category, f"{group.rate:.2f}", amount(group.base), amount(group.amount))
                for group in order.totals.tax
            ),
            gross=amount(order.totals.gross),
        ),
        bill_to=agreed.bill_to,
        requested_delivery=agreed.requested_delivery,
        external_reference=order.external_reference,
        note=agreed.note,
        receipt=receipt,
    )


def _line(line: Line) -> LineAnswer:
    decimals = line.unit_decimals
    return LineAnswer(
        position=line.position,
        sku=line.sku,
        name=Name(line.name_de, line.name_en),
        quantity=from_steps(line.quantity, decimals),
        unit=line.unit,
        unit_price=price(line.unit_price),
        net=amount(line.net),
        tax_class=line.tax_class,
        tax_rate=f"{line.tax_rate:.2f}",
        tax_category=line.tax_category,
        reserved=from_steps(line.reserved, decimals),
        backordered=from_steps(line.backordered, decimals),
        cancelled=from_steps(line.cancelled, decimals),
        note=line.note,
    )


def shortage_answers(shortages: Iterable[Shortage]) -> tuple[ShortageAnswer, ...]:
    """What was short as clients see it."""
    return tuple(
        ShortageAnswer(
            shortage.position,
            shortage.sku,
            from_steps(shortage.requested, shortage.unit_decimals),
            from_steps(shortage.available, shortage.unit_decimals),
        )
        for shortage in shortages
    )


def event_answers(events: Iterable[OrderEvent]) -> EventsAnswer:
    """Events as clients see them; hashes in lower case hexadecimal."""
    return EventsAnswer(
        tuple(
            EventAnswer(
                version=event.version,
                type=event.type,
                actor=event.actor,
                at=event.at,
                content_hash=event.content_hash.hex(),
                chain_hash=event.chain_hash.hex(),
                reason=event.reason,
                data=event.data,
            )
            for event in events
        )
    )


def amount(value: Decimal) -> str:
    """An amount with two decimals."""
    return f"{value:.2f}"


def price(value: Decimal) -> str:
    """A price with two to four decimals."""
    whole, _, decimals = f"{value:.4f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """A JSON answer; members are in a fixed order, so equal answers are equal bytes."""
    return Answer(msgspec.json.encode(value), status=status, headers=headers, media_type="application/json")


def not_modified(headers: dict[str, str]) -> Answer:
    """The answer to who has this version already."""
    return Answer(status=304, headers=headers)
