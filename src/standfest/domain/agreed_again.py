"""One request that was accepted twice, at two prices: the lower total holds.

It happens where the journal accepted an order, and its repeat was agreed anew on the direct path before the journal
was drained, while a price changed in between.
"""

from typing import Any

import msgspec

from standfest.domain.events import OrderEvent
from standfest.domain.orders import Line, Order, content_hash, line_net, totals


class AgreedAgain(msgspec.Struct, frozen=True):
    """The order afterwards, and what its event keeps."""

    order: Order
    data: dict[str, Any]


def agree_again(stored: Order, events: tuple[OrderEvent, ...], other: Order) -> AgreedAgain | None:
    """What becomes of a stored order that was also agreed as `other`; None where that is known already.

    Args:
        stored: as it stands.
        events: its events, oldest first.
        other: the same request (the same id) as it was accepted elsewhere.
    """
    agreed_hash = other.content_hash.hex()
    known = {event.content_hash.hex() for event in events}
    known |= {event.data.get("agreed_hash", "") for event in events if event.data is not None}
    if agreed_hash in known:
        return None
    prices = {line.position: line for line in other.lines}
    lines = tuple(_repriced(line, prices[line.position]) for line in stored.lines)
    sums = totals(lines)
    lower = sums.gross < stored.totals.gross
    after = msgspec.structs.replace(stored, version=stored.version + 1)
    if lower:
        hashed = content_hash(stored.currency, stored.agreed, lines, sums)
        after = msgspec.structs.replace(after, lines=lines, totals=sums, content_hash=hashed)
    data = {
        "agreed_hash": agreed_hash,
        "gross": f"{other.totals.gross:.2f}",
        "held": "this one" if lower else "the earlier one",
    }
    return AgreedAgain(after, data)


def _repriced(line: Line, other: Line) -> Line:
    return msgspec.structs.replace(
        line,
        unit_price=other.unit_price,
        net=line_net(line.open, line.unit_decimals, other.unit_price),
        tax_class=other.tax_class,
        tax_category=other.tax_category,
        tax_rate=other.tax_rate,
    )
