"""What is wrong with an order, decided purely: lawful histories are well, and every single change shows."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.agreed_again import agree_again
from standfest.domain.backorders import supply
from standfest.domain.cancellation import CancelRequest, LineWish, cancel
from standfest.domain.events import EventType, OrderEvent, next_event
from standfest.domain.identity import order_id
from standfest.domain.orders import Line, Order, content_hash, line_net, totals
from standfest.domain.stock import allocate, set_aside
from standfest.intake.audit.decide import agreement_of, judge_entry, judge_order, judge_receipt
from standfest.intake.audit.model import FlawKind, StoredOrder
from standfest.intake.decisions import placement_event
from standfest.intake.entries import EntryBroken, EntryTooNew
from standfest.intake.receipts import Receipt, receipt_of
from tests.unit.trade import line, order_of

CLIENT = UUID(int=7)
AT = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)


def received(*lines: Line) -> Order:
    """An order as intake gets it, with the id that it makes of it."""
    request_hash = bytes(32)
    made = order_of("received", *lines)
    identifier = order_id(CLIENT, "key", request_hash)
    return msgspec.structs.replace(
        made, order_id=identifier, client_id=CLIENT, idempotency_key="key", request_hash=request_hash, accepted_at=AT
    )


def stored(order: Order, *events: OrderEvent) -> StoredOrder:
    """The rows of an order."""
    return StoredOrder(
        position=1,
        order_id=order.order_id,
        client_id=order.client_id,
        idempotency_key=order.idempotency_key,
        request_hash=order.request_hash,
        content_hash=order.content_hash,
        status=order.status,
        version=order.version,
        customer_reference=order.agreed.customer.reference,
        currency=order.currency,
        net=order.totals.net,
        gross=order.totals.gross,
        agreed=msgspec.to_builtins(order.agreed),
        lines=order.lines,
        events=events,
    )


def then(before: StoredOrder, order: Order, event_type: EventType, data: dict[str, Any] | None) -> StoredOrder:
    """The rows after one more event."""
    event = next_event(
        before.events[-1].chain_hash,
        version=order.version,
        type=event_type,
        actor="somebody",
        at=AT,
        content_hash=order.content_hash,
        data=data,
    )
    return stored(order, *before.events, event)


def placed(order: Order, **available: int) -> StoredOrder:
    """The rows of an order that was decided on with so much in stock, by SKU."""
    free = {each.product_id: available.get(each.sku.replace("-", "_"), 0) for each in order.lines}
    [decision] = allocate([order], free)
    return stored(decision.order, placement_event(decision))


def confirmed() -> StoredOrder:
    """Two lines, all in stock."""
    return placed(received(line(1, 3), line(2, 5)), sku_1=3, sku_2=5)


def as_order(rows: StoredOrder, like: Order) -> Order:
    """The order that rows make."""
    assert rows.lines is not None
    return msgspec.structs.replace(
        like,
        status=rows.status,
        version=rows.version,
        lines=rows.lines,
        content_hash=rows.content_hash,
        totals=totals(rows.lines),
    )


def kinds(rows: StoredOrder) -> set[FlawKind]:
    """What is wrong with the rows."""
    return {flaw.kind for flaw in judge_order(rows)}


def test_every_lawful_history_is_well() -> None:
    """Confirmed, declined, backordered, supplied in part and in full, cancelled by lines and whole."""
    order = received(line(1, 3, "backorder"), line(2, 5))
    waiting = placed(order, sku_1=1, sku_2=5)
    assert waiting.status == "backordered"
    [some] = supply([as_order(waiting, order)], {1: 1})
    in_part = then(waiting, some.order, "order.backordered", some.data)
    [rest] = supply([some.order], {1: 9})
    in_full = then(in_part, rest.order, "order.confirmed", rest.data)
    few = cancel(rest.order, CancelRequest(lines=(LineWish(2, "5"),)))
    less = then(in_full, few.order, few.event_type, few.data)
    nothing = cancel(few.order, CancelRequest())
    gone = then(less, nothing.order, nothing.event_type, nothing.data)
    histories = [confirmed(), placed(received(line(1, 3))), waiting, in_part, in_full, less, gone]
    assert [rows.status for rows in histories] == [
        "confirmed", "declined", "backordered", "backordered", "confirmed", "confirmed", "cancelled",
    ]  # fmt: skip
    assert [judge_order(rows) for rows in histories] == [()] * len(histories)


def test_an_order_in_conflict_is_well_under_its_strange_key() -> None:
    """It is stored under a key made of its id, remembers its own, and may be cancelled; nobody else may do the like."""
    decision = set_aside(received(line(1, 3)), uuid4())
    rows = stored(decision.order, placement_event(decision))
    ended = cancel(decision.order, CancelRequest())
    assert judge_order(rows) == ()
    assert judge_order(then(rows, ended.order, ended.event_type, ended.data)) == ()
    forged = msgspec.structs.replace(confirmed(), idempotency_key=f"conflict {confirmed().order_id}")
    assert kinds(forged) == {"altered"}


@pytest.mark.parametrize("price", ["2.00", "3.00"])
def test_an_order_agreed_twice_is_well_at_either_price(price: str) -> None:
    """The lower total holds, and receipts of both agreements are borne out by the order's events."""
    order = received(line(1, 3), line(2, 5))
    rows = placed(order, sku_1=3, sku_2=5)
    lines = tuple(
        msgspec.structs.replace(
            each, unit_price=Decimal(price), net=line_net(each.open, each.unit_decimals, Decimal(price))
        )
        for each in order.lines
    )
    sums = totals(lines)
    hashed = content_hash(order.currency, order.agreed, lines, sums)
    other = msgspec.structs.replace(order, lines=lines, totals=sums, content_hash=hashed)
    again = agree_again(as_order(rows, order), rows.events, other)
    assert again is not None
    after = then(rows, again.order, "order.agreed_again", again.data)
    assert judge_order(after) == ()
    for agreed in (order, other):
        assert judge_receipt(receipt_of(agreed, agreed.content_hash, "confirmed"), agreement_of(after)) == ()
    cancelled = cancel(again.order, CancelRequest(lines=(LineWish(1, "1"),)))
    assert judge_order(then(after, cancelled.order, cancelled.event_type, cancelled.data)) == ()


def test_words_of_a_later_release_are_no_damage() -> None:
    """An event, a status and a party's field that this release does not know accuse nobody."""
    rows = confirmed()
    assert rows.agreed is not None
    assert rows.lines is not None
    agreed = rows.agreed | {"gift": True}
    hashed = content_hash(rows.currency, agreed, rows.lines, totals(rows.lines))  # type: ignore[arg-type]
    event = next_event(
        rows.events[-1].chain_hash,
        version=2,
        type="order.wrapped",  # type: ignore[arg-type]
        actor="somebody",
        at=AT,
        content_hash=hashed,
    )
    later = msgspec.structs.replace(
        rows, agreed=agreed, content_hash=hashed, version=2, status="wrapped", events=(*rows.events, event)
    )
    assert judge_order(later) == ()


def _line(**values: Any) -> Any:
    def change(rows: StoredOrder) -> StoredOrder:
        assert rows.lines is not None
        first, *others = rows.lines
        return msgspec.structs.replace(rows, lines=(msgspec.structs.replace(first, **values), *others))

    return change


def _row(**values: Any) -> Any:
    return lambda rows: msgspec.structs.replace(rows, **values)


def _event(**values: Any) -> Any:
    return lambda rows: msgspec.structs.replace(rows, events=(msgspec.structs.replace(rows.events[0], **values),))


CHANGES = {
    "sku": _line(sku="gold"),
    "quantity": _line(quantity=4),
    "price": _line(unit_price=Decimal("2.49")),
    "line net": _line(net=Decimal("0.01")),
    "tax rate": _line(tax_rate=Decimal("7.00")),
    "unit": _line(unit="box"),
    "note": _line(note="leave it at the door"),
    "cancelled": _line(cancelled=1),
    "no lines": _row(lines=()),
    "lines that cannot be read": _row(lines=None),
    "net": _row(net=Decimal("1.00")),
    "gross": _row(gross=Decimal("1.00")),
    "currency": _row(currency="USD"),
    "status": _row(status="declined"),
    "version": _row(version=2),
    "client": _row(client_id=UUID(int=8)),
    "key": _row(idempotency_key="other"),
    "key that is no ASCII": _row(idempotency_key="schlüssel"),
    "request hash": _row(request_hash=bytes(31) + b"x"),
    "content hash": _row(content_hash=bytes(32)),
    "customer's reference": _row(customer_reference="C-1"),
    "no events": _row(events=()),
    "event's actor": _event(actor="nobody"),
    "event's moment": _event(at=AT + datetime.timedelta(microseconds=1)),
    "event's hash": _event(content_hash=bytes(32)),
    "event's data": _event(data={}),
    "event's reason": _event(reason="so"),
    "event's type": _event(type="order.backordered"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_single_change_shows(what: str) -> None:
    """Whatever is changed of a stored order by itself, it is altered."""
    assert kinds(CHANGES[what](confirmed())) == {"altered"}


def test_doubles_are_told_from_changes() -> None:
    """An id that intake makes for nobody is a double, and so are lines that were put on top."""
    rows = confirmed()
    assert kinds(msgspec.structs.replace(rows, order_id=uuid4(), idempotency_key="copy")) == {"doubled"}
    assert rows.lines is not None
    copies = tuple(msgspec.structs.replace(each, position=each.position + 2) for each in rows.lines)
    assert "doubled" in kinds(msgspec.structs.replace(rows, lines=rows.lines + copies))
    assert "doubled" in kinds(msgspec.structs.replace(rows, events=rows.events * 2))


@given(st.integers(1, 5), st.integers(0, 5), st.data())
def test_cancelled_lines_are_still_watched(quantity: int, cancelled: int, data: st.DataObject) -> None:
    """However much of a line is cancelled, another price for it shows."""
    cancelled = min(cancelled, quantity)
    order = received(line(1, quantity), line(2, 5))
    rows = placed(order, sku_1=quantity, sku_2=5)
    if cancelled:
        less = cancel(as_order(rows, order), CancelRequest(lines=(LineWish(1, str(cancelled)),)))
        rows = then(rows, less.order, less.event_type, less.data)
    assert judge_order(rows) == ()
    price = data.draw(
        st.decimals(min_value="0.0001", max_value="999", places=4).filter(lambda it: it != Decimal("2.5"))
    )
    assert kinds(_line(unit_price=price)(rows)) == {"altered"}


def _receipt(rows: StoredOrder, **values: Any) -> Receipt:
    receipt = receipt_of(received(line(1, 3), line(2, 5)), rows.events[0].content_hash, "confirmed")
    return msgspec.structs.replace(receipt, **values)


def test_a_receipt_is_borne_out_or_not() -> None:
    """Path and moment may differ (repeats on another path), number and hashes may not."""
    rows = confirmed()
    agreement = agreement_of(rows)
    assert judge_receipt(_receipt(rows), agreement) == ()
    assert judge_receipt(_receipt(rows, promise="accepted", path="journal", accepted_at=AT), agreement) == ()
    for change in ({"number": "0000-0000-0000-0"}, {"request_hash": "0" * 63 + "1"}, {"content_hash": "0" * 64}):
        assert [flaw.kind for flaw in judge_receipt(_receipt(rows, **change), agreement)] == ["altered"]


def test_what_was_promised_is_what_was_decided() -> None:
    """Whatever became of an accepted order; any other promise is its first event's, if this release knows that."""
    order = received(line(1, 3, "backorder"))
    conflict = set_aside(order, uuid4())
    decided = {
        "confirmed": placed(order, sku_1=3),
        "backordered": placed(order),
        "declined": placed(received(line(1, 3))),
        "conflict": stored(conflict.order, placement_event(conflict)),
    }
    for promise in ("accepted", *decided):
        for decision, rows in decided.items():
            receipt = receipt_of(order, rows.events[0].content_hash, promise)
            flaws = [flaw.kind for flaw in judge_receipt(receipt, agreement_of(rows))]
            assert flaws == ([] if promise in ("accepted", decision) else ["altered"]), (promise, decision)
            later = _event(type="order.wrapped")(rows)
            assert judge_receipt(receipt, agreement_of(later)) == ()


def test_an_entry_in_the_journal_bears_a_receipt_out() -> None:
    """As the database does; one of a later release is believed, one that is damaged is not."""
    rows, order = confirmed(), received(line(1, 3), line(2, 5))
    receipt = _receipt(rows)
    assert judge_entry(receipt, order) == ()
    assert judge_entry(receipt, EntryTooNew("later")) == ()
    other = msgspec.structs.replace(order, content_hash=bytes(32))
    for entry in (EntryBroken("damaged"), other):
        assert [flaw.kind for flaw in judge_entry(receipt, entry)] == ["altered"]
