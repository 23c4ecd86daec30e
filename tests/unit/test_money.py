"""Amounts, tax by rate, and totals, as EN 16931 rounds them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.money import round_amount
from standfest.domain.orders import line_net, totals
from standfest.domain.tax import TaxGroup, TaxRule, tax_groups, tax_rule
from tests.unit.trade import line

RATES = [Decimal("19.00"), Decimal("7.00"), Decimal("25.50"), Decimal("0.00")]
amounts = st.decimals(0, 10**9, places=2)


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [("0.005", "0.01"), ("0.015", "0.02"), ("0.025", "0.03"), ("2.675", "2.68"), ("1.0049", "1.00"), ("7", "7.00")],
)
def test_half_a_cent_is_rounded_up(exact: str, rounded: str) -> None:
    """Half up, not half to even, and not as binary floating point would: 2.675 is 2.68."""
    assert str(round_amount(Decimal(exact))) == rounded


@pytest.mark.parametrize(
    ("base", "rate", "amount"),
    [
        ("1000.00", "25.00", "250.00"),
        ("0.50", "19.00", "0.10"),
        ("2.50", "19.00", "0.48"),
        ("0.50", "5.00", "0.03"),
        ("33.33", "7.00", "2.33"),
        ("123.45", "25.50", "31.48"),
        ("99.99", "0.00", "0.00"),
    ],
)
def test_tax_is_base_times_rate_rounded(base: str, rate: str, amount: str) -> None:
    """BR-CO-17: VAT category tax amount = taxable amount x rate / 100, rounded to two decimals."""
    [group] = tax_groups([("S", Decimal(rate), Decimal(base))])
    assert (group.base, group.amount) == (Decimal(base), Decimal(amount))


def test_tax_is_rounded_once_for_each_rate_and_not_for_each_line() -> None:
    """Three lines of 0.02 at 19 % owe 0.01 together, though each of them alone would owe nothing."""
    nets = [("S", Decimal("19.00"), Decimal("0.02"))] * 3
    assert tax_groups(nets) == (TaxGroup("S", Decimal("19.00"), Decimal("0.06"), Decimal("0.01")),)
    assert tax_groups(nets[:1])[0].amount == 0


def test_rates_and_categories_are_groups_of_their_own() -> None:
    """Highest rate first; zero rate and intra-community supply stay apart though both owe nothing."""
    nets = [
        ("Z", Decimal("0.00"), Decimal(1)),
        ("S", Decimal("7.00"), Decimal(10)),
        ("K", Decimal("0.00"), Decimal(2)),
        ("S", Decimal("19.00"), Decimal(100)),
    ]
    assert [(group.category, group.rate, group.amount) for group in tax_groups(nets)] == [
        ("S", Decimal("19.00"), Decimal("19.00")),
        ("S", Decimal("7.00"), Decimal("0.70")),
        ("K", Decimal("0.00"), Decimal("0.00")),
        ("Z", Decimal("0.00"), Decimal("0.00")),
    ]


@given(st.lists(st.tuples(st.just("S"), st.sampled_from(RATES), amounts)))
def test_the_parts_add_up_to_the_whole(nets: list[tuple[str, Decimal, Decimal]]) -> None:
    """Every net amount is in one base, in any order of the lines, and no tax is off by a cent or more."""
    groups = tax_groups(nets)
    assert sum(group.base for group in groups) == sum(net for _, _, net in nets)
    assert groups == tax_groups(reversed(nets))
    for group in groups:
        assert abs(group.amount - group.base * group.rate / 100) <= Decimal("0.005")


@pytest.mark.parametrize(
    ("seller", "destination", "business", "tax_class", "rule"),
    [
        ("DE", "DE", False, "standard", TaxRule("S", Decimal("19.00"))),
        ("DE", "DE", False, "reduced", TaxRule("S", Decimal("7.00"))),
        ("DE", "DE", True, "standard", TaxRule("S", Decimal("19.00"))),
        ("DE", "AT", False, "standard", TaxRule("S", Decimal("20.00"))),
        ("DE", "FI", False, "reduced", TaxRule("S", Decimal("13.50"))),
        ("DE", "AT", True, "standard", TaxRule("K", Decimal("0.00"))),
        ("DE", "CH", False, "standard", TaxRule("G", Decimal("0.00"))),
        ("DE", "CH", True, "reduced", TaxRule("G", Decimal("0.00"))),
        ("CH", "CH", False, "standard", TaxRule("S", Decimal("8.10"))),
        ("CH", "DE", False, "standard", TaxRule("G", Decimal("0.00"))),
        ("DE", "DE", False, "zero", TaxRule("Z", Decimal("0.00"))),
        ("DE", "US", False, "zero", TaxRule("G", Decimal("0.00"))),
    ],
)
def test_who_sells_where_to_whom_decides_on_the_tax(
    seller: str, destination: str, business: bool, tax_class: str, rule: TaxRule
) -> None:
    """At home, to consumers and businesses elsewhere in the EU, and out of it."""
    assert tax_rule(seller, destination, business, tax_class) == rule


@given(st.integers(0, 10**9), st.integers(0, 3), st.decimals(0, 99_999, places=4))
def test_a_lines_net_is_quantity_times_price(steps: int, places: int, price: Decimal) -> None:
    """Within half a cent of the exact product, whatever the unit's decimals."""
    exact = Decimal(steps) / 10**places * price
    assert abs(line_net(steps, places, price) - exact) <= Decimal("0.005")


def test_what_is_cancelled_costs_nothing() -> None:
    """Totals are those of what is open: net by rate, tax on it, and both together."""
    lines = [
        line(1, 4, cancelled=1),
        line(2, 2, cancelled=2),
        line(3, 2, tax_rate=Decimal("7.00")),
    ]
    sums = totals(lines)
    assert (sums.net, sums.gross) == (Decimal("12.50"), Decimal("14.28"))
    assert [(group.rate, group.base, group.amount) for group in sums.tax] == [
        (Decimal("19.00"), Decimal("7.50"), Decimal("1.43")),
        (Decimal("7.00"), Decimal("5.00"), Decimal("0.35")),
    ]
    assert totals([]).gross == 0
