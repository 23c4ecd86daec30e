"""The plan of a replay: what is sent, in which sequence, with which keys. A function of the file alone.

Nothing in it depends on answers, so a second replay sends the very same requests under the very same keys.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from standfest.emergency.drills.replay.catalogue import PlannedProduct, plan_products, price_text
from standfest.emergency.drills.replay.countries import country_code
from standfest.emergency.drills.replay.judge import is_cancellation, refusal
from standfest.emergency.drills.replay.rows import Row, Unreadable

GUEST_CANCELS = "a cancellation without a customer: whose order it means cannot be known"
NOTHING_TO_CANCEL = "a cancellation for which no earlier order of the customer has pieces of this code left"


@dataclass(frozen=True, slots=True)
class PlannedLine:
    """One line of an order, and the row it comes from."""

    row: int
    sku: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One invoice that is an order."""

    invoice: str
    key: str
    at: datetime
    customer: str | None
    country: str
    lines: tuple[PlannedLine, ...]

    def body(self) -> dict[str, Any]:
        """The body of POST /v1/orders. The file has no addresses: a marked placeholder stands in for them."""
        name = "Guest" if self.customer is None else f"Customer {self.customer}"
        customer = {"name": name} if self.customer is None else {"reference": self.customer, "name": name}
        return {
            "customer": customer,
            "ship_to": {
                "name": name,
                "street": "(placeholder: no address in the file)",
                "postal_code": "00000",
                "city": "(placeholder)",
                "country": country_code(self.country),
            },
            "currency": "EUR",
            "lines": [
                {"sku": line.sku, "quantity": str(line.quantity), "unit_price": price_text(line.unit_price)}
                for line in self.lines
            ],
            "external_reference": self.invoice,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """How many pieces one row of a cancellation takes off one line of an order."""

    row: int
    line: int
    """Index into the order's lines."""
    quantity: int


@dataclass(frozen=True, slots=True)
class PlannedCancellation:
    """What one cancelling invoice takes off one order."""

    invoice: str
    order: str
    """The invoice of the order that it cancels pieces of."""
    key: str
    at: datetime
    parts: tuple[Part, ...]


Step = PlannedOrder | PlannedCancellation


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a replay does, and what becomes of the rows that it leaves alone."""

    rows: int
    products: tuple[PlannedProduct, ...]
    steps: tuple[Step, ...]
    """In the sequence of the invoices' times: an order stands before its cancellations."""
    refused: Mapping[int, str]
    """Rows that are sent nowhere, and why."""
    asked: Mapping[int, int]
    """Pieces that each cancelling row asks to cancel, those in `refused` included."""


@dataclass(slots=True)
class _Open:
    """Pieces of one line of an order that no cancellation has taken yet."""

    order: str
    line: int
    left: int


def make_plan(rows: Iterable[Row | Unreadable], key_prefix: str = "replay") -> Plan:
    """Plans the replay of these rows. Keys are `<prefix>:<invoice>` and `<prefix>:<cancelling>:<invoice>`."""
    refused: dict[int, str] = {}
    invoices: defaultdict[str, list[Row]] = defaultdict(list)
    total = 0
    for row in rows:
        total += 1
        reason = row.reason if isinstance(row, Unreadable) else refusal(row)
        if reason is not None:
            refused[row.number] = reason
        elif isinstance(row, Row):
            invoices[row.invoice].append(row)
    steps: list[Step] = []
    asked: dict[int, int] = {}
    opened: defaultdict[tuple[str, str], list[_Open]] = defaultdict(list)
    # Some invoices carry two times: the earlier one counts. Equal minutes keep the sequence of the file.
    for invoice in sorted(invoices.values(), key=lambda lines: (min(row.at for row in lines), lines[0].number)):
        if is_cancellation(invoice[0]):
            asked.update((row.number, -row.quantity) for row in invoice)
            steps += _plan_cancellations(invoice, key_prefix, opened, refused)
        else:
            order = _plan_order(invoice, key_prefix)
            steps.append(order)
            if order.customer is not None:
                for index, line in enumerate(order.lines):
                    opened[order.customer, line.sku].append(_Open(order.invoice, index, line.quantity))
    order_rows = (row for lines in invoices.values() for row in lines if not is_cancellation(row))
    return Plan(total, plan_products(order_rows), tuple(steps), refused, asked)


def _plan_order(rows: list[Row], key_prefix: str) -> PlannedOrder:
    first = rows[0]
    return PlannedOrder(
        first.invoice,
        f"{key_prefix}:{first.invoice}",
        min(row.at for row in rows),
        first.customer,
        first.country,
        tuple(PlannedLine(row.number, row.sku, row.quantity, row.unit_price) for row in rows),
    )


def _plan_cancellations(
    rows: list[Row],
    key_prefix: str,
    opened: defaultdict[tuple[str, str], list[_Open]],
    refused: dict[int, str],
) -> list[PlannedCancellation]:
    """Takes from the customer's most recent lines with the same code, as far as they reach."""
    parts: defaultdict[str, list[Part]] = defaultdict(list)
    for row in rows:
        if row.customer is None:
            refused[row.number] = GUEST_CANCELS
            continue
        candidates = opened[row.customer, row.sku]
        if not candidates:
            refused[row.number] = NOTHING_TO_CANCEL
        wanted = -row.quantity
        while wanted and candidates:
            latest = candidates[-1]
            taken = min(wanted, latest.left)
            parts[latest.order].append(Part(row.number, latest.line, taken))
            wanted -= taken
            latest.left -= taken
            if not latest.left:
                candidates.pop()
    invoice, at = rows[0].invoice, min(row.at for row in rows)
    return [
        PlannedCancellation(invoice, order, f"{key_prefix}:{invoice}:{order}", at, tuple(taken))
        for order, taken in parts.items()
    ]
