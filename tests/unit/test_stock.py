"""Decisions on orders by what is in stock."""

import datetime
from collections import Counter
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.orders import Agreed, Line, Order, Totals
from standfest.domain.products import StockPolicy
from standfest.domain.request import AddressRequest, CustomerRequest
from standfest.domain.stock import allocate, in_full, scarce_after

POLICIES: dict[int, StockPolicy] = {1: "tracked", 2: "tracked", 3: "backorder", 4: "untracked"}


def order_of(*wanted: tuple[int, int]) -> Order:
    """A received order of (product, quantity) pairs."""
    lines = tuple(
        Line(
            position=position,
            product_id=product,
            sku=str(product),
            name_de="x",
            name_en="x",
            unit="piece",
            unit_decimals=0,
            quantity=quantity,
            unit_price=Decimal(1),
            net=Decimal(quantity),
            tax_class="standard",
            tax_category="S",
            tax_rate=Decimal(19),
            stock_policy=POLICIES[product],
        )
        for position, (product, quantity) in enumerate(wanted, start=1)
    )
    return Order(
        order_id=UUID(int=0),
        client_id=UUID(int=0),
        idempotency_key="k",
        request_hash=b"",
        content_hash=b"",
        status="received",
        version=1,
        path="direct",
        accepted_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        external_reference=None,
        currency="EUR",
        agreed=Agreed(CustomerRequest("x"), AddressRequest("x", "x", "x", "x", "DE")),
        lines=lines,
        totals=Totals(Decimal(0), (), Decimal(0)),
    )


orders = st.lists(
    st.lists(st.tuples(st.sampled_from(sorted(POLICIES)), st.integers(1, 6)), min_size=1, max_size=4).map(
        lambda wanted: order_of(*wanted)
    ),
    max_size=8,
)
stocks = st.dictionaries(st.sampled_from(sorted(POLICIES)), st.integers(0, 12))


@given(orders, stocks)
def test_never_more_than_there_was(wanted: list[Order], available: dict[int, int]) -> None:
    """What is reserved of a product is at most what was available of it."""
    reserved: Counter[int] = Counter()
    for decision in allocate(wanted, available):
        for line in decision.order.lines:
            reserved[line.product_id] += line.reserved
    assert all(quantity <= available.get(product, 0) for product, quantity in reserved.items())


@given(orders, stocks)
def test_a_promise_covers_every_line(wanted: list[Order], available: dict[int, int]) -> None:
    """A confirmed order has all it asked for, a backordered one all reserved or backordered, a declined none."""
    for decision in allocate(wanted, available):
        lines = [line for line in decision.order.lines if line.stock_policy != "untracked"]
        assert (decision.order.status == "declined") == bool(decision.shortages)
        if decision.order.status == "declined":
            assert all(line.reserved == line.backordered == 0 for line in lines)
        else:
            assert all(line.reserved + line.backordered == line.quantity for line in lines)
            backordered = {line.stock_policy for line in lines if line.backordered}
            assert backordered <= {"backorder"}
            assert (decision.order.status == "backordered") == bool(backordered)


@given(orders)
def test_with_plenty_everything_is_confirmed_in_full(wanted: list[Order]) -> None:
    """Where there is enough of everything, deciding one by one gives what the fast way assumes."""
    assert allocate(wanted, dict.fromkeys(POLICIES, 1_000)) == [in_full(order) for order in wanted]


def test_first_come_first_served() -> None:
    """An order that does not fit is declined, and a smaller one behind it still fits."""
    decisions = allocate([order_of((1, 3)), order_of((1, 3)), order_of((1, 2))], {1: 5})
    assert [decision.order.status for decision in decisions] == ["confirmed", "declined", "confirmed"]
    assert decisions[1].shortages[0].available == 2


def test_a_product_named_twice_counts_together() -> None:
    """Two lines of one product share what is there of it."""
    [decision] = allocate([order_of((1, 3), (1, 3))], {1: 5})
    assert [(s.position, s.requested, s.available) for s in decision.shortages] == [(2, 3, 2)]


@given(orders, stocks, st.integers(0, 20))
def test_goods_are_scarce_only_for_those_who_take_them_or_queue_for_them(
    wanted: list[Order], available: dict[int, int], scarce_lines: int
) -> None:
    """What nobody gets anything of is not scarce; what is left for fewer than so many lines, or waited for, is."""
    decisions = allocate(wanted, available)
    scarce = scarce_after(decisions, available, scarce_lines)
    lines = [line for decision in decisions for line in decision.order.lines]
    got = {line.product_id for line in lines if line.reserved or line.backordered}
    assert {line.product_id for line in lines if line.backordered} <= scarce <= got
    for product_id in got - scarce:
        taken = [line.reserved for line in lines if line.product_id == product_id]
        assert available[product_id] - sum(taken) >= scarce_lines * max(taken)
