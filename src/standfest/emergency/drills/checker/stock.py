"""Decides SKU by SKU whether the stock adds up, in itself and against what was sent. Pure."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from .model import Finding, FoundStock, History, Outcome, State, StockCount

NOTHING = Decimal(0)


def examine(history: History, state: State) -> list[Finding]:
    """What does not add up, for each SKU that the history sold and whose stock is kept."""
    skus = {line.sku for sent in history.submissions for line in sent.lines}
    taken = _taken(history, state)
    findings: list[Finding] = []
    for sku in sorted(skus & state.stock.keys()):
        stock = state.stock[sku]
        opening = history.opening_stock.get(sku)
        problems = [
            *_within_itself(stock),
            *(_by_difference(stock, opening, taken[sku]) if opening else ()),
            *_by_answer(stock, state.api_stock.get(sku)),
        ]
        findings += [Finding(sku, problem) for problem in problems]
    return findings


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


def _by_answer(stock: FoundStock, answer: StockCount | None) -> Iterator[str]:
    count = stock.count
    if answer is not None and answer != count:
        yield (
            f"the API says {answer.reserved} of {answer.on_hand} are reserved, "
            f"the database {count.reserved} of {count.on_hand}"
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
