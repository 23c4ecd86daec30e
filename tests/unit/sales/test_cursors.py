"""Cursors as text."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.sales.cursors import decode_cursor, encode_cursor
from standfest.sales.errors import CursorInvalid

numbers = st.integers(0, 2**63 - 1)


@given(st.lists(numbers, min_size=1, max_size=2))
def test_a_position_survives(position: list[int]) -> None:
    """What is packed is unpacked, with nothing in it that an address would have to escape."""
    cursor = encode_cursor(*position)
    assert decode_cursor(cursor, *[2**63] * len(position)) == tuple(position)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    """Whatever comes instead of a cursor is refused with the one error for it, or is a position."""
    with suppress(CursorInvalid):
        [position] = decode_cursor(text, 2**63)
        assert 0 <= position < 2**63


@pytest.mark.parametrize("cursor", [encode_cursor(1), encode_cursor(1, 2, 3), encode_cursor(1, 10)])
def test_a_position_of_another_list_is_refused(cursor: str) -> None:
    """The number of parts and their limits have to fit."""
    with pytest.raises(CursorInvalid):
        decode_cursor(cursor, 5, 10)
