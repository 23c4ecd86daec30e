"""What the checker compares: what was sent and answered, and what is there now. Plain, frozen values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

PARTIES = ("customer", "ship_to", "bill_to")
"""The fields of an order that say who is concerned."""

Parties = Mapping[str, Mapping[str, str]]
"""Who is concerned: by the name of the field, each with its own fields as text."""


class CheckerError(Exception):
    """The checker cannot decide; the message says what was expected and what to do next."""


class Outcome(StrEnum):
    """How a submission ended for the client that sent it."""

    ACKNOWLEDGED = "acknowledged"
    """A 2xx: it must be there, once, as sent. After a 202 it may end declined, where stock was short."""
    DECLINED = "declined"
    """409 with an order id: it must be there, once, in state declined, holding no stock."""
    REFUSED = "refused"
    """Any other 4xx: it must not be there."""
    FAILED = "failed"
    """Given up after answers that say "not attempted" (429, 503): it must not be there."""
    UNKNOWN = "unknown"
    """No answer: it may be there, once."""
    SHED = "shed"
    """Never sent: it must not be there."""


@dataclass(frozen=True)
class SentLine:
    """One line of an order as it was sent; `unit_price` only where the client named one."""

    sku: str
    quantity: Decimal
    unit_price: Decimal | None = None


@dataclass(frozen=True)
class Submission:
    """One order that the generator wanted placed; times in seconds of CLOCK_MONOTONIC."""

    nonce: str
    key: str
    outcome: Outcome
    lines: Sequence[SentLine] = ()
    parties: Parties = field(default_factory=dict)
    currency: str | None = None
    payload_sha256: str | None = None
    sent_at: float | None = None
    due_at: float | None = None
    answered_at: float | None = None
    attempts: int = 0
    order_id: str | None = None
    order_status: str | None = None
    number: str | None = None
    content_hash: str | None = None
    gross: Decimal | None = None

    @property
    def by_journal(self) -> bool:
        """Acknowledged before the database had it (202): stock was not decided yet."""
        return self.outcome is Outcome.ACKNOWLEDGED and self.order_status == "accepted"


@dataclass(frozen=True)
class Cancellation:
    """One request to cancel an order (`lines` None) or quantities of its lines, by position."""

    nonce: str
    order_id: str
    outcome: Outcome
    lines: Mapping[int, Decimal] | None


@dataclass(frozen=True)
class StockCount:
    """What a SKU had on hand and reserved at one moment."""

    on_hand: Decimal
    reserved: Decimal


@dataclass(frozen=True)
class History:
    """All that a drill recorded, as far as the verdict depends on it."""

    client: str
    submissions: Sequence[Submission]
    cancellations: Sequence[Cancellation] = ()
    reads_missed: Sequence[str] = ()
    """Nonces of acknowledged orders that a later read answered with 404."""
    opening_position: int | None = None
    opening_stock: Mapping[str, StockCount] = field(default_factory=dict)
    backorder: frozenset[str] = frozenset()
    """Those of its SKUs that are sold beyond their stock as well: they are never short."""
    gaps: Sequence[str] = ()
    """Why this may not be all that was sent, or proves nothing: no verdict on it is a good one."""


@dataclass(frozen=True)
class FoundLine:
    """One line of an order as the database or the API shows it."""

    position: int
    sku: str
    quantity: Decimal
    unit_price: Decimal
    net: Decimal
    """Of what is not cancelled: quantity less cancelled, times the unit price, rounded to cents."""
    reserved: Decimal = Decimal(0)
    backordered: Decimal = Decimal(0)
    cancelled: Decimal = Decimal(0)


@dataclass(frozen=True)
class FoundOrder:
    """One order as the database or the API shows it; None where that source does not say."""

    order_id: str
    nonce: str | None
    status: str
    number: str | None
    currency: str
    net: Decimal
    gross: Decimal
    lines: Sequence[FoundLine]
    parties: Parties = field(default_factory=dict)
    customer_reference: str | None = None
    """As orders are found by it; the database only."""
    tax: Decimal | None = None
    """The sum over its rates; the API only."""
    content_hash: str | None = None
    """Of what was agreed when the order was placed, whatever was cancelled since."""
    request_hash: str | None = None
    key: str | None = None
    placements: int | None = None
    """How many events say that this order was placed; the database only."""

    @property
    def name(self) -> str:
        """What a person can look it up by."""
        return self.number or self.order_id


@dataclass(frozen=True)
class FoundStock:
    """A SKU's stock now, and what the order lines in the database say it should have reserved."""

    count: StockCount
    reserved_by_lines: Decimal
    """Sum of what all orders' lines hold, whoever sent them."""
    reserved_by_others: Decimal
    """The part of it that other clients' orders placed since the opening hold."""


class Unseen(StrEnum):
    """Why there is no order or stock count to compare in an answer of the API."""

    ABSENT = "absent"
    """404: the API says that there is no such order, or SKU."""
    UNREAD = "unread"
    """No answer within the deadline: nothing is known."""


@dataclass(frozen=True)
class State:
    """What was found from outside after the drill."""

    orders: Sequence[FoundOrder]
    """Of the drill's client: those placed since the opening, and any whose nonce is in the history."""
    stock: Mapping[str, FoundStock]
    """Of each SKU whose stock is kept."""
    api: Mapping[str, FoundOrder | Unseen] = field(default_factory=dict)
    """By order id: what the API answered for each acknowledged or declined order."""
    api_stock: Mapping[str, StockCount | Unseen] = field(default_factory=dict)
    """By SKU: what the API answered for the stock of each that the history sold and whose stock is kept."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: an order's nonce or a SKU, and what about it."""

    subject: str
    what: str


def subjects(findings: Sequence[Finding]) -> int:
    """How many orders or SKUs the findings are about."""
    return len({finding.subject for finding in findings})


@dataclass(frozen=True)
class Verdict:
    """The figures, and everything that is wrong. Times in ms, from first submission to acknowledgement."""

    submitted: int
    acknowledged: int
    accepted_by_journal: int
    """Those of the acknowledged that were promised before the database had them (202)."""
    accepted_declined: int
    """Those of them that ended declined, as stock was short when they came to the database."""
    declined: int
    refused: int
    failed: int
    unknown: int
    unknown_present: int
    shed: int
    missing: Sequence[Finding]
    doubled: Sequence[Finding]
    altered: Sequence[Finding]
    refused_present: Sequence[Finding]
    unsent: Sequence[Finding]
    stock_mismatches: Sequence[Finding]
    reads_missed: Sequence[Finding]
    unread: Sequence[Finding]
    acknowledged_ms_p50: float | None
    acknowledged_ms_p99: float | None
    acknowledged_ms_max: float | None
    acknowledged_per_s: float | None
    """Between the first submission and the last answer."""
    late_ms_max: float | None
    """How far the generator itself fell behind its schedule."""
    attempts_max: int

    @property
    def findings(self) -> Mapping[str, Sequence[Finding]]:
        """What is wrong, by kind."""
        return {
            "missing": self.missing,
            "doubled": self.doubled,
            "altered": self.altered,
            "refused_present": self.refused_present,
            "unsent": self.unsent,
            "stock_mismatches": self.stock_mismatches,
            "reads_missed": self.reads_missed,
        }

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and everything could be looked at."""
        return not any(self.findings.values()) and not self.unread
