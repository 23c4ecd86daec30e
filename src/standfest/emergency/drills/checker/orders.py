"""Decides order by order: is it there, once, as it was sent and acknowledged? Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from .model import Cancellation, Finding, FoundLine, FoundOrder, Outcome, State, Submission, Unseen

CENT = Decimal("0.01")
STATES_ACKNOWLEDGED = ("confirmed", "backordered")
"""Not `accepted`: that is where an order waits, and `conflict` is where no order of one client's own can come to."""


@dataclass
class OrderFindings:
    """What is wrong with orders, by kind, and how many submissions without an answer are there."""

    missing: list[Finding] = field(default_factory=list)
    doubled: list[Finding] = field(default_factory=list)
    altered: list[Finding] = field(default_factory=list)
    refused_present: list[Finding] = field(default_factory=list)
    unsent: list[Finding] = field(default_factory=list)
    unread: list[Finding] = field(default_factory=list)
    unknown_present: int = 0


def examine(submissions: Sequence[Submission], cancellations: Sequence[Cancellation], state: State) -> OrderFindings:
    """Compares each submission with what database and API show, and each order with the submissions."""
    findings = OrderFindings()
    by_nonce: dict[str | None, list[FoundOrder]] = defaultdict(list)
    for order in state.orders:
        by_nonce[order.nonce].append(order)
    cancelled_by_nonce: dict[str, list[Cancellation]] = defaultdict(list)
    for cancellation in cancellations:
        cancelled_by_nonce[cancellation.nonce].append(cancellation)
    for sent in submissions:
        found = by_nonce.pop(sent.nonce, [])
        _examine_one(sent, found, state.api, cancelled_by_nonce[sent.nonce], findings)
    for orders in by_nonce.values():
        findings.unsent += [
            Finding(order.nonce or order.name, f"order {order.name} is there, nobody sent it") for order in orders
        ]
    _examine_keys(state.orders, findings)
    return findings


def _examine_one(
    sent: Submission,
    found: Sequence[FoundOrder],
    api: Mapping[str, FoundOrder | Unseen],
    cancellations: Sequence[Cancellation],
    findings: OrderFindings,
) -> None:
    if sent.outcome in (Outcome.REFUSED, Outcome.FAILED, Outcome.SHED):
        findings.refused_present += [
            Finding(sent.nonce, f"{sent.outcome}, yet order {order.name} is there") for order in found
        ]
        return
    if sent.outcome is Outcome.UNKNOWN:
        findings.unknown_present += bool(found)
    else:
        _examine_presence(sent, found, api, cancellations, findings)
    if len(found) > 1:
        findings.doubled.append(Finding(sent.nonce, f"{len(found)} orders carry its nonce"))
    for order in found:
        if order.placements is not None and order.placements > 1:
            findings.doubled.append(Finding(sent.nonce, f"{order.placements} events say that it was placed"))
    if found:
        findings.altered += _altered(sent, _first(sent, found), "database", cancellations)


def _first(sent: Submission, found: Sequence[FoundOrder]) -> FoundOrder:
    """The order that the answer named, or else the oldest."""
    return next((order for order in found if order.order_id == sent.order_id), found[0])


def _examine_presence(
    sent: Submission,
    found: Sequence[FoundOrder],
    api: Mapping[str, FoundOrder | Unseen],
    cancellations: Sequence[Cancellation],
    findings: OrderFindings,
) -> None:
    if not found:
        findings.missing.append(Finding(sent.nonce, f"{sent.outcome} as {sent.number}, not in the database"))
    if sent.order_id is None:
        return
    answer = api.get(sent.order_id, Unseen.UNREAD)
    if answer is Unseen.ABSENT:
        findings.missing.append(Finding(sent.nonce, f"{sent.outcome} as {sent.number}, the API answers 404"))
    elif isinstance(answer, Unseen):
        findings.unread.append(Finding(sent.nonce, f"{sent.outcome} as {sent.number}, the API gave no answer"))
    else:
        findings.altered += _altered(sent, answer, "API", cancellations)
        # Net, tax and gross are checked in the API's answer alone: the database keeps no sum of taxes.
        if found and _first(sent, found).gross != answer.gross:
            gross = _first(sent, found).gross
            findings.altered.append(Finding(sent.nonce, f"gross is {gross} in the database, {answer.gross} at the API"))


def _altered(sent: Submission, order: FoundOrder, source: str, cancellations: Sequence[Cancellation]) -> list[Finding]:
    differences = [
        *_header_differences(sent, order, cancellations),
        *_line_differences(sent, order),
        *_cancellation_differences(order, cancellations),
        *_arithmetic_differences(order),
    ]
    return [Finding(sent.nonce, f"{source}: {difference}") for difference in differences]


def _header_differences(sent: Submission, order: FoundOrder, cancellations: Sequence[Cancellation]) -> Iterator[str]:
    pairs: list[tuple[str, object, object]] = [
        ("currency", sent.currency, order.currency),
        ("nonce", sent.nonce, order.nonce),
    ]
    if order.request_hash is not None and sent.payload_sha256 is not None:
        pairs.append(("request hash", sent.payload_sha256, order.request_hash))
    answered: list[tuple[str, object, object]] = [
        ("order id", sent.order_id, order.order_id),
        ("number", sent.number, order.number),
        ("content hash", sent.content_hash, order.content_hash),
        ("gross", sent.gross, order.gross if not cancellations else None),
    ]
    pairs += [pair for pair in answered if pair[1] is not None and pair[2] is not None]
    for name, then, now in pairs:
        if then != now:
            yield f"{name} was {then}, is {now}"
    yield from _party_differences(sent, order)
    yield from _state_differences(sent, order, cancellations)
    if order.placements == 0:
        yield "no event says that it was placed"


def _party_differences(sent: Submission, order: FoundOrder) -> Iterator[str]:
    for party in sorted(sent.parties.keys() | order.parties.keys()):
        then, now = sent.parties.get(party, {}), order.parties.get(party, {})
        for name in sorted(then.keys() | now.keys()):
            if then.get(name) != now.get(name):
                yield f"{party}: {name} was {then.get(name)}, is {now.get(name)}"
    # Only the database has the reference apart from the customer: orders are found by it.
    reference = sent.parties.get("customer", {}).get("reference")
    if order.key is not None and order.customer_reference != reference:
        yield f"it is found by the customer {order.customer_reference}, {reference} was sent"


def _state_differences(sent: Submission, order: FoundOrder, cancellations: Sequence[Cancellation]) -> Iterator[str]:
    allowed: tuple[str, ...] = ()
    if sent.outcome in (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN):
        allowed += STATES_ACKNOWLEDGED
    if sent.outcome in (Outcome.DECLINED, Outcome.UNKNOWN) or sent.by_journal:
        allowed += ("declined",)
    if any(cancellation.outcome in (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN) for cancellation in cancellations):
        allowed += ("cancelled",)
    if order.status not in allowed:
        yield f"{sent.outcome}, yet its state is {order.status}"
    if order.status == "declined" and any(line.reserved for line in order.lines):
        yield "declined, yet it holds stock"


def _line_differences(sent: Submission, order: FoundOrder) -> Iterator[str]:
    lines = sorted(order.lines, key=lambda line: line.position)
    if len(lines) != len(sent.lines):
        yield f"{len(sent.lines)} lines were sent, {len(lines)} are there"
        return
    for then, now in zip(sent.lines, lines, strict=True):
        if then.sku != now.sku:
            yield f"line {now.position}: SKU was {then.sku}, is {now.sku}"
        if then.quantity != now.quantity:
            yield f"line {now.position}: quantity was {then.quantity}, is {now.quantity}"
        if then.unit_price is not None and then.unit_price != now.unit_price:
            yield f"line {now.position}: unit price was {then.unit_price}, is {now.unit_price}"


def _cancellation_differences(order: FoundOrder, cancellations: Sequence[Cancellation]) -> Iterator[str]:
    certain = [entry for entry in cancellations if entry.outcome is Outcome.ACKNOWLEDGED]
    possible = [entry for entry in cancellations if entry.outcome is Outcome.UNKNOWN]
    for line in order.lines:
        least = min(line.quantity, _cancelled(line, certain))
        most = min(line.quantity, least + _cancelled(line, possible))
        if not least <= line.cancelled <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            yield f"line {line.position}: {wanted} were to be cancelled, {line.cancelled} are"


def _cancelled(line: FoundLine, cancellations: Sequence[Cancellation]) -> Decimal:
    wanted = (
        line.quantity if entry.lines is None else entry.lines.get(line.position, Decimal(0)) for entry in cancellations
    )
    return sum(wanted, Decimal(0))


def _arithmetic_differences(order: FoundOrder) -> Iterator[str]:
    for line in order.lines:
        net = ((line.quantity - line.cancelled) * line.unit_price).quantize(CENT, ROUND_HALF_UP)
        if line.net != net:
            yield f"line {line.position}: net is {line.net}, its quantity and price make {net}"
    total = sum((line.net for line in order.lines), Decimal(0))
    if order.net != total:
        yield f"net is {order.net}, its lines make {total}"
    if order.tax is not None and order.gross != order.net + order.tax:
        yield f"gross is {order.gross}, net and tax make {order.net + order.tax}"


def _examine_keys(orders: Sequence[FoundOrder], findings: OrderFindings) -> None:
    nonces_by_key: dict[str, list[str]] = defaultdict(list)
    for order in orders:
        if order.key is not None:
            nonces_by_key[order.key].append(order.nonce or order.order_id)
    findings.doubled += [
        Finding(nonces[0], f"{len(nonces)} orders carry the key {key}")
        for key, nonces in nonces_by_key.items()
        if len(nonces) > 1
    ]
