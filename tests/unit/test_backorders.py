"""Giving what came in to the orders that wait."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.backorders import supply
from standfest.domain.orders import Order
from tests.unit.trade import line, order_of


def test_first_come_first_served() -> None:
    """The first order gets all it waits for, the second a part, the third nothing and is left out."""
    orders = [order_of("backordered", line(1, 4, "backorder", backordered=4)) for _ in range(3)]
    first, second = supply(orders, {1: 6})
    assert (first.order.status, first.order.lines[0].reserved) == ("confirmed", 4)
    assert (second.order.status, second.order.lines[0].reserved, second.order.lines[0].backordered) == (
        "backordered",
        2,
        2,
    )
    assert second.data == {"reserved": [{"position": 1, "sku": "sku-1", "quantity": "2"}]}
    assert (first.order.version, first.before.version) == (2, 1)


def test_less_on_hand_than_is_promised_gives_nothing() -> None:
    """After a count below what is reserved, what is free is negative: nobody gets anything."""
    assert supply([order_of("backordered", line(1, 1, "backorder", backordered=1))], {1: -3}) == []


waiting = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=3), max_size=6
)


def orders_of(wanted: list[list[tuple[int, int, int]]]) -> list[Order]:
    """Backordered orders of (reserved, backordered, product) lines."""
    return [
        order_of(
            "backordered",
            *(
                line(position, has + waits, "backorder", reserved=has, backordered=waits, product_id=product)
                for position, (has, waits, product) in enumerate(lines, start=1)
            ),
        )
        for lines in wanted
    ]


@given(waiting, st.dictionaries(st.integers(1, 3), st.integers(-2, 20)))
def test_what_is_given_was_there_and_nothing_is_kept_back(
    wanted: list[list[tuple[int, int, int]]], available: dict[int, int]
) -> None:
    """No product is given twice; what stays free is wanted by nobody any more; agreements do not change."""
    orders = orders_of(wanted)
    given_: Counter[int] = Counter()
    waits: Counter[int] = Counter()
    for each in orders:
        for one in each.lines:
            waits[one.product_id] += one.backordered
    supplied = supply(orders, available)
    for result in supplied:
        assert result.order.content_hash == result.before.content_hash
        assert (result.order.status == "confirmed") == (not any(one.backordered for one in result.order.lines))
        for old, new in zip(result.before.lines, result.order.lines, strict=True):
            assert new.reserved + new.backordered == new.open
            assert new.reserved >= old.reserved
            given_[new.product_id] += new.reserved - old.reserved
    for product in (1, 2, 3):
        assert given_[product] == min(max(available.get(product, 0), 0), waits[product])
