"""Decides SKU by SKU whether the stock adds up, in itself and against what was sent. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from .model import Finding, FoundStock, History, Outcome, State, StockCount, Submission, Unseen

NOTHING = Decimal(0)


@dataclass
class StockFindings:
    """What does not add up, and what could not be looked at."""

    mismatches: list[Finding] = field(default_factory=list)
    unread: list[Finding] = field(default_factory=list)


def examine(history: History, state: State) -> StockFindings:
    """Looks at each SKU that the history sold and whose stock is kept now, or was at the opening."""
    skus = {line.sku for sent in history.submissions for line in sent.lines}
    taken = _taken(history, state)
    findings = StockFindings()
    for sku in sorted(skus & (history.opening_stock.keys() | state.stock.keys())):
        problems = _problems(state.stock.get(sku), history.opening_stock.get(sku), taken[sku])
        answer = state.api_stock.get(sku, Unseen.UNREAD)
        if answer is Unseen.UNREAD:
            findings.unread.append(Finding(sku, "the API gave no answer for its stock"))
        else:
            problems += _by_answer(state.stock.get(sku), answer)
        findings.mismatches += [Finding(sku, problem) for problem in problems]
    return findings


def declined_without_need(history: History, declined: Sequence[Submission]) -> Iterator[Finding]:
    """Orders that were declined although the stock that was there met all that was asked for by anybody."""
    if not declined or not history.opening_stock:
        return
    wanted: dict[str, Decimal] = defaultdict(lambda: NOTHING)
    for sent in history.submissions:
        for line in sent.lines:
            wanted[line.sku] += line.quantity
    short = {sku for sku, count in history.opening_stock.items() if wanted[sku] > count.on_hand - count.reserved}
    for sent in declined:
        if not any(line.sku in short - history.backorder for line in sent.lines):
            before = "accepted, then " if sent.by_journal else ""
            yield Finding(sent.nonce, f"{before}declined, although there was enough of all that it asked for")


def _problems(stock: FoundStock | None, opening: StockCount | None, taken: Decimal) -> list[str]:
    if stock is None:
        return ["its stock was kept at the opening, the database has none"]
    return [*_within_itself(stock), *(_by_difference(stock, opening, taken) if opening else ())]


def _within_itself(stock: FoundStock) -> Iterator[str]:
    count = stock.count
    if count.reserved != stock.reserved_by_lines:
        yield f"{count.reserved} are reserved, the order lines hold {stock.reserved_by_lines}"
    if count.reserved > count.on_hand:
        yield f"oversold: {count.reserved} are reserved of {count.on_hand} on hand"


def _by_difference(stock: FoundStock, opening: StockCount, taken: Decimal) -> Iterator[str]:
    gone = (opening.on_hand - opening.reserved) - (stock.count.on_hand - stock.count.reserved)
    explained = taken + stock.reserved_by_others
    if gone != explained:
        yield f"{gone} left the stock, the orders sent explain {explained}"


def _by_answer(stock: FoundStock | None, answer: StockCount | Unseen) -> Iterator[str]:
    if isinstance(answer, Unseen):
        yield "the API answers 404 for its stock"
    elif stock is not None and answer != stock.count:
        yield (
            f"the API says {answer.reserved} of {answer.on_hand} are reserved, "
            f"the database {stock.count.reserved} of {stock.count.on_hand}"
        )


def _taken(history: History, state: State) -> dict[str, Decimal]:
    """What the orders took, by what the client sent: a nonce that is there counts once, however often."""
    found = {order.nonce: order for order in reversed(state.orders)}
    taken: dict[str, Decimal] = defaultdict(lambda: NOTHING)
    for sent in history.submissions:
        order = found.get(sent.nonce)
        if order is None or order.status == "declined" or sent.outcome is Outcome.SHED:
            continue
        for then, now in zip(sent.lines, sorted(order.lines, key=lambda line: line.position), strict=False):
            taken[then.sku] += then.quantity - now.backordered - now.cancelled
    return taken
