"""What is left of an order that is cancelled, whole or by lines."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.cancellation import Cancellation, CancelRequest, Conflict, LineWish, cancel
from standfest.domain.faults import Invalid
from standfest.domain.lifecycle import State
from standfest.domain.orders import Line, Order, content_hash, line_net, totals
from standfest.domain.quantity import from_steps
from tests.unit.trade import line, order_of


def wish(*lines: tuple[int, str]) -> CancelRequest:
    """A wish to cancel (position, quantity) lines."""
    return CancelRequest(lines=tuple(LineWish(position, quantity) for position, quantity in lines))


def faults(order: Order, request: CancelRequest) -> list[tuple[str, str]]:
    """Pointer and code of every fault that a wish has."""
    with pytest.raises(Invalid) as refused:
        cancel(order, request)
    return [(fault.pointer, fault.code) for fault in refused.value.faults]


def test_a_whole_order_is_empty_afterwards() -> None:
    """Everything open is cancelled, everything reserved comes back, and nothing is owed."""
    before = order_of(
        "backordered",
        line(1, 5, reserved=3, backordered=2),
        line(2, 4, reserved=3, cancelled=1),
        line(3, 2, "untracked"),
    )
    decision = cancel(before, CancelRequest(reason="no more need"))
    assert decision.order.status == "cancelled"
    assert decision.order.version == 2
    assert [(each.open, each.reserved, each.backordered) for each in decision.order.lines] == [(0, 0, 0)] * 3
    assert decision.returned == {1: 3, 2: 3}
    assert decision.order.totals.gross == Decimal(0)
    assert decision.event_type == "order.cancelled"
    assert decision.data == {
        "lines": [
            {"position": 1, "sku": "sku-1", "quantity": "5"},
            {"position": 2, "sku": "sku-2", "quantity": "3"},
            {"position": 3, "sku": "sku-3", "quantity": "2"},
        ]
    }


def test_what_is_waited_for_goes_before_what_is_reserved() -> None:
    """Of five, two of them missing: cancelling three gives back one reserved piece, and nothing is waited for."""
    before = order_of("backordered", line(1, 5, "backorder", reserved=3, backordered=2))
    decision = cancel(before, wish((1, "3")))
    [left] = decision.order.lines
    assert (left.reserved, left.backordered, left.cancelled) == (2, 0, 3)
    assert decision.returned == {1: 1}
    assert decision.order.status == "confirmed"
    assert decision.event_type == "order.lines_cancelled"


def test_an_order_goes_on_waiting_for_its_other_lines() -> None:
    """Cancelling one line leaves the state to the others."""
    before = order_of("backordered", line(1, 5, reserved=5), line(2, 1, "backorder", backordered=1))
    assert cancel(before, wish((1, "5"))).order.status == "backordered"
    assert cancel(before, wish((2, "1"))).order.status == "confirmed"
    assert cancel(before, wish((1, "5"), (2, "1"))).order.status == "cancelled"


def test_two_lines_of_one_product_give_back_their_sum() -> None:
    """Stock is given back by product, however many lines it is on."""
    before = order_of("confirmed", line(1, 5, reserved=5), line(2, 4, reserved=4, product_id=1))
    assert cancel(before, wish((1, "2"), (2, "3"))).returned == {1: 5}


def test_quantities_are_in_the_lines_unit() -> None:
    """A quarter of a kilogram is 250 steps of a gram."""
    before = order_of("confirmed", line(1, 1000, unit_decimals=3, reserved=1000))
    decision = cancel(before, wish((1, "0.25")))
    assert decision.order.lines[0].open == 750
    assert decision.order.totals.net == Decimal("1.88")
    assert decision.data == {"lines": [{"position": 1, "sku": "sku-1", "quantity": "0.250"}]}


def test_every_fault_of_a_wish_is_pointed_at() -> None:
    """Lines that are not there, named twice, with too much, nothing or parts of a piece are all found at once."""
    before = order_of("confirmed", line(1, 5, reserved=4, cancelled=1), line(2, 1, reserved=1))
    asked = wish((3, "1"), (1, "5"), (2, "0"), (1, "1"), (1, "1"), (2, "0.5"))
    assert faults(before, asked) == [
        ("/lines/0/position", "unknown-position"),
        ("/lines/1/quantity", "more-than-open"),
        ("/lines/2/quantity", "zero-quantity"),
        ("/lines/4/position", "duplicate-position"),
        ("/lines/5/quantity", "too-many-decimals"),
    ]


def test_a_line_that_is_gone_cannot_be_cancelled_again() -> None:
    """What was cancelled before is not open."""
    before = order_of("confirmed", line(1, 1, cancelled=1), line(2, 1, reserved=1))
    assert faults(before, wish((1, "1"))) == [("/lines/0/quantity", "more-than-open")]


@pytest.mark.parametrize("status", ["declined", "cancelled", "received"])
@pytest.mark.parametrize("request_", [CancelRequest(), wish((1, "1"))])
def test_what_is_not_open_cannot_be_cancelled(status: State, request_: CancelRequest) -> None:
    """Orders that were declined or cancelled stay so; the error names the state."""
    with pytest.raises(Conflict, match=status):
        cancel(order_of(status, line(1, 1)), request_)


@st.composite
def placed_lines(draw: st.DrawFn) -> tuple[Line, ...]:
    """Lines as placing, supplying and cancelling can have left them, at least one of them open."""
    lines = []
    for position in range(1, draw(st.integers(1, 4)) + 1):
        quantity = draw(st.integers(1, 9))
        cancelled = draw(st.integers(0, quantity if position > 1 else quantity - 1))
        left = quantity - cancelled
        backordered = draw(st.integers(0, left))
        if draw(st.booleans()):
            lines.append(line(position, quantity, "untracked", cancelled=cancelled))
        else:
            reserved = left - backordered
            lines.append(line(position, quantity, reserved=reserved, backordered=backordered, cancelled=cancelled))
    return tuple(lines)


def steps(lines: tuple[Line, ...], data: st.DataObject) -> CancelRequest:
    """A lawful wish for some of the open lines, or for the whole order."""
    opens = [each for each in lines if each.open]
    chosen = data.draw(st.lists(st.sampled_from(opens), unique=True, max_size=len(opens)))
    if not chosen:
        return CancelRequest()
    return wish(
        *((each.position, from_steps(data.draw(st.integers(1, each.open)), each.unit_decimals)) for each in chosen)
    )


@given(placed_lines(), st.data())
def test_nothing_is_lost_whatever_is_cancelled(lines: tuple[Line, ...], data: st.DataObject) -> None:
    """Lines stay accounted for, stock that comes back was reserved, and totals and hash fit what is left."""
    before = order_of("backordered" if any(each.backordered for each in lines) else "confirmed", *lines)
    decision: Cancellation = cancel(before, steps(lines, data))
    after = decision.order
    for old, new in zip(before.lines, after.lines, strict=True):
        assert new.quantity == old.quantity
        assert new.cancelled >= old.cancelled
        assert new.reserved + new.backordered == (0 if new.stock_policy == "untracked" else new.open)
        assert new.net == line_net(new.open, new.unit_decimals, new.unit_price)
    assert sum(decision.returned.values()) == sum(each.reserved for each in before.lines) - sum(
        each.reserved for each in after.lines
    )
    assert all(steps > 0 for steps in decision.returned.values())
    assert after.totals == totals(after.lines)
    assert after.content_hash == content_hash(after.currency, after.agreed, after.lines, after.totals)
    assert (after.status == "cancelled") == all(each.open == 0 for each in after.lines)
    assert (after.status == "backordered") == any(each.backordered for each in after.lines)


@given(placed_lines(), st.data())
def test_cancelling_in_two_parts_is_cancelling_at_once(lines: tuple[Line, ...], data: st.DataObject) -> None:
    """A part first and the rest after it leave the same order as the whole at once, versions apart."""
    before = order_of("backordered" if any(each.backordered for each in lines) else "confirmed", *lines)
    part = cancel(before, steps(lines, data))
    if part.order.status == "cancelled":
        return
    rest = cancel(part.order, CancelRequest())
    whole = cancel(before, CancelRequest())
    assert msgspec.structs.replace(rest.order, version=2) == whole.order
    products = whole.returned.keys() | part.returned.keys() | rest.returned.keys()
    for product_id in products:
        assert part.returned.get(product_id, 0) + rest.returned.get(product_id, 0) == whole.returned.get(product_id, 0)
