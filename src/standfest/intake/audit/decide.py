"""What is wrong with an order: facts in, flaws out. Pure.

Lawful changes (cancelled lines, goods that came in, the same order agreed twice at two prices) leave an event each,
with the content hash of what is agreed afterwards, chained to the ones before. So of each stored order it is asked

- whether its id follows from client, key and request hash;
- whether its events follow from each other, one a version, and end in what the order's row says;
- whether its lines, parties and totals give the content hash that the last event has, and, where lines were
  cancelled, whether with these put back they give the hash of what was agreed at first;
- whether its status is one that its last event and its lines allow.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec

from standfest.domain.events import OrderEvent, broken_at
from standfest.domain.identity import order_id, order_number
from standfest.domain.orders import Agreed, Line, Totals, content_hash, line_net, totals
from standfest.intake.audit.model import Agreement, Entry, Flaw, StoredOrder
from standfest.intake.entries import EntryBroken, EntryTooNew
from standfest.intake.receipts import Receipt

ID_VERSION = 8
"""Of the UUIDs that intake makes (domain/identity.py)."""
AGREED_AGAIN = "order.agreed_again"
_CONFLICT = "order.conflict"

PROMISES = {
    "order.confirmed": "confirmed",
    "order.backordered": "backordered",
    "order.declined": "declined",
    _CONFLICT: "conflict",
}
"""What an order's client was promised, by its first event; `accepted` promises none of these."""
_STATUS_AFTER = {
    "order.confirmed": ("confirmed",),
    "order.backordered": ("backordered",),
    "order.declined": ("declined",),
    _CONFLICT: ("conflict",),
    "order.lines_cancelled": ("confirmed", "backordered"),
    "order.cancelled": ("cancelled",),
}
"""Which status an order has after an event; events that are not named leave it as it is, or are of a later release."""


def judge_receipt(receipt: Receipt, agreement: Agreement) -> tuple[Flaw, ...]:
    """What is wrong with a stored order by what its receipt says."""
    return tuple(Flaw("altered", detail) for detail in _differences(receipt, agreement))


def judge_entry(receipt: Receipt, entry: Entry) -> tuple[Flaw, ...]:
    """What is wrong with an order in the journal by what its receipt says."""
    if isinstance(entry, EntryTooNew):
        return ()
    if isinstance(entry, EntryBroken):
        return (Flaw("altered", "its entry in the journal cannot be read"),)
    return judge_receipt(receipt, Agreement(entry.request_hash.hex(), entry.content_hash.hex()))


def agreement_of(stored: StoredOrder) -> Agreement:
    """What a receipt of this order may speak of."""
    hashes = [event.content_hash.hex() for event in stored.events]
    hashes += [str((_details(event) or {}).get("agreed_hash")) for event in stored.events if event.type == AGREED_AGAIN]
    first = stored.events[0].type if stored.events else ""
    return Agreement(stored.request_hash.hex(), " ".join(hashes), stored.position, first)


def judge_order(stored: StoredOrder, acknowledged: bool = False) -> tuple[Flaw, ...]:
    """What is wrong with a stored order by itself.

    Args:
        stored: the order.
        acknowledged: a receipt speaks of this very id, so intake made it.
    """
    return (*_identity(stored, acknowledged), *_chain(stored), *_content(stored), *_status(stored))


def _differences(receipt: Receipt, agreement: Agreement) -> Iterator[str]:
    if receipt.number != order_number(receipt.order_id):
        yield "the receipt's order number does not belong to its order id"
    if receipt.request_hash != agreement.request_hash:
        yield "the request hash is not the one that was acknowledged"
    if receipt.content_hash not in agreement.content_hashes:
        yield "what was acknowledged was never agreed, by the order's events"
    decided = PROMISES.get(agreement.first_event, receipt.promise)  # a later release has other events
    if receipt.promise not in ("accepted", decided):
        yield f"it was acknowledged as {receipt.promise}, and is {decided} by its first event"


def _identity(stored: StoredOrder, acknowledged: bool) -> Iterator[Flaw]:
    key = _key_of(stored)
    if key is not None and key.isascii() and order_id(stored.client_id, key, stored.request_hash) == stored.order_id:
        return
    if acknowledged or stored.order_id.version == ID_VERSION:
        yield Flaw("altered", "client, key or request hash is not what the order's id was made of")
    else:
        yield Flaw("doubled", "its id is none that intake makes: somebody else wrote this order")


def _key_of(stored: StoredOrder) -> str | None:
    """The key that the order came with: one in conflict is stored under another."""
    if stored.idempotency_key != f"conflict {stored.order_id}":
        return stored.idempotency_key
    first = stored.events[0] if stored.events else None
    if first is None or first.type != _CONFLICT:
        return None
    key = (_details(first) or {}).get("idempotency_key")
    return key if isinstance(key, str) else None


def _details(event: OrderEvent) -> dict[str, Any] | None:
    """The event's data; None where it is no JSON object, as somebody may have edited it to be."""
    data: object = {} if event.data is None else event.data
    return data if isinstance(data, dict) else None


def _chain(stored: StoredOrder) -> Iterator[Flaw]:
    if not stored.events:
        yield Flaw("altered", "it has no events")
        return
    firsts = sum(1 for event in stored.events if event.version == 1)
    if firsts > 1:
        yield Flaw("doubled", f"it has {firsts} first events")
    for event in stored.events:
        if _details(event) is None:
            yield Flaw("altered", f"the details of the event of version {event.version} are no JSON object")
    broken = broken_at(stored.events)
    if broken is not None:
        yield Flaw("altered", f"the event of version {broken} does not follow from the ones before")
    last = stored.events[-1]
    if last.version != stored.version:
        yield Flaw("altered", f"the order is at version {stored.version}, its last event at {last.version}")
    elif last.content_hash != stored.content_hash:
        yield Flaw("altered", "the order's content hash is not that of its last event")


def _content(stored: StoredOrder) -> Iterator[Flaw]:
    if not stored.lines:
        yield Flaw("altered", "it has no lines that can be read")
        return
    if stored.agreed is None:
        yield Flaw("altered", "what was agreed of its parties is no JSON object")
        return
    sums = totals(stored.lines)
    if (stored.net, stored.gross) != (sums.net, sums.gross):
        yield Flaw("altered", "the order's totals are not those of its lines")
    if stored.customer_reference != _reference(stored.agreed):
        yield Flaw("altered", "the customer's reference is not the one that was agreed")
    wanted = stored.events[-1].content_hash if stored.events else stored.content_hash
    if _hash(stored, stored.lines, sums) == wanted:
        if not _first_agreement_holds(stored, stored.lines):
            yield Flaw("altered", "cancelled lines are not what was agreed at first")
    elif any(_hash_of(stored, stored.lines[:count]) == wanted for count in range(1, len(stored.lines))):
        yield Flaw("doubled", "it has lines on top of those that were agreed")
    else:
        yield Flaw("altered", "lines, parties or totals are not what was agreed, by the content hash")


def _hash(stored: StoredOrder, lines: Sequence[Line], sums: Totals) -> bytes:
    # The parties are hashed as they are stored: fields of a later release count as they did when it wrote them.
    return content_hash(stored.currency, cast("Agreed", stored.agreed), lines, sums)


def _hash_of(stored: StoredOrder, lines: Sequence[Line]) -> bytes:
    return _hash(stored, lines, totals(lines))


def _first_agreement_holds(stored: StoredOrder, lines: Sequence[Line]) -> bool:
    """Whether the lines with what was cancelled put back are what was agreed at first.

    An order that was agreed again later has other prices than at first: there the last content hash must do.
    """
    if not any(line.cancelled for line in lines) or any(event.type == AGREED_AGAIN for event in stored.events):
        return True
    return not stored.events or _hash_of(stored, [_put_back(line) for line in lines]) == stored.events[0].content_hash


def _put_back(line: Line) -> Line:
    return msgspec.structs.replace(line, cancelled=0, net=line_net(line.quantity, line.unit_decimals, line.unit_price))


def _reference(agreed: dict[str, Any]) -> object:
    customer = agreed.get("customer")
    return customer.get("reference") if isinstance(customer, dict) else None


def _status(stored: StoredOrder) -> Iterator[Flaw]:
    allowed = _allowed(stored.events)
    if allowed is not None and stored.status not in allowed:
        yield Flaw("altered", f"its status is {stored.status}; after its events it is {' or '.join(allowed)}")
    elif stored.lines and not _lines_allow(stored.status, stored.lines):
        yield Flaw("altered", f"its status is {stored.status}, which its lines do not allow")


def _allowed(events: Sequence[OrderEvent]) -> tuple[str, ...] | None:
    """The statuses that the events leave; None where that cannot be said: an event of a later release."""
    for event in reversed(events):
        if event.type != AGREED_AGAIN:
            return _STATUS_AFTER.get(event.type)
    return None


def _lines_allow(status: str, lines: Iterable[Line]) -> bool:
    is_open, waits = any(line.open for line in lines), any(line.backordered for line in lines)
    match status:
        case "confirmed":
            return is_open and not waits
        case "backordered":
            return waits
        case "cancelled":
            return not is_open
        case _:
            return True
