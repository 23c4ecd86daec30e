"""Quantities between decimal strings and whole steps."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.faults import Invalid
from standfest.domain.quantity import from_steps, to_steps

decimals = st.integers(0, 3)


@given(st.integers(0, 10**12), decimals)
def test_steps_survive_the_way_out_and_back(steps: int, places: int) -> None:
    """What is written out as a decimal string is read back as the same steps."""
    assert to_steps(from_steps(steps, places), places, "/q") == steps


@given(st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,4})?", fullmatch=True), decimals)
def test_a_string_means_what_decimal_says(text: str, places: int) -> None:
    """A quantity is exactly the decimal number, or refused where it does not fit into steps: never rounded."""
    exact = Decimal(text).scaleb(places)
    if exact == exact.to_integral_value():
        assert to_steps(text, places, "/q") == int(exact)
    else:
        with pytest.raises(Invalid) as refused:
            to_steps(text, places, "/q")
        assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [("/q", "too-many-decimals")]


@pytest.mark.parametrize(
    ("steps", "places", "text"),
    [(0, 0, "0"), (5, 0, "5"), (5, 3, "0.005"), (1250, 3, "1.250"), (10**12, 2, "10000000000.00")],
)
def test_a_quantity_is_written_with_the_decimals_of_its_unit(steps: int, places: int, text: str) -> None:
    """No exponent, no missing and no additional decimals."""
    assert from_steps(steps, places) == text
