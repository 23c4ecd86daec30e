"""Cursors as text."""

from __future__ import annotations

import base64
import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.interfaces.api.parameters import CURSOR_LENGTH_MAX
from standfest.sales.cursors import KEY_BYTES, Cursors, parse_cursor
from standfest.sales.errors import CursorExpired, CursorInvalid

CURSORS = Cursors(os.urandom(KEY_BYTES))
HERE = "one history"
numbers = st.integers(0, 2**64 - 1)


@given(numbers, numbers)
def test_a_position_survives(transaction_id: int, sequence: int) -> None:
    """What is sealed is opened, with nothing in it that an address would have to escape."""
    cursor = CURSORS.seal("changes", HERE, transaction_id, sequence)
    assert CURSORS.open(HERE, parse_cursor("changes", cursor)) == (transaction_id, sequence)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert len(cursor) <= CURSOR_LENGTH_MAX


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    """Whatever comes instead of a cursor is refused with one of the two errors for it."""
    with pytest.raises((CursorInvalid, CursorExpired)):
        CURSORS.open(HERE, parse_cursor("orders", text))


@given(st.binary(min_size=32, max_size=32))
def test_nobody_makes_a_cursor(data: bytes) -> None:
    """What has the form of a cursor and was not sealed with the key cannot be opened."""
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    with pytest.raises(CursorExpired):
        CURSORS.open(HERE, parse_cursor("changes", text))


def test_a_cursor_tells_no_volumes() -> None:
    """Positions that follow each other have cursors of which no part shows that."""
    cursors = [CURSORS.seal("orders", HERE, number) for number in range(256)]
    raw = [base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)) for cursor in cursors]
    assert sorted(raw) != raw
    for one, two in itertools.pairwise(raw):
        assert sum(a != b for a, b in zip(one, two, strict=True)) > 12


@pytest.mark.parametrize("position", ["1", "8127-1", "0-0", "18446744073709551615-9223372036854775807"])
def test_a_cursor_of_the_plain_form_is_at_its_end(position: str) -> None:
    """Those that releases before gave out, which showed the position to everybody, have to start again."""
    with pytest.raises(CursorExpired):
        parse_cursor("changes", base64.urlsafe_b64encode(position.encode()).decode().rstrip("="))


def test_a_cursor_of_another_history_or_list_or_key_is_refused() -> None:
    """It is opened only where it was given out."""
    cursor = CURSORS.seal("orders", HERE, 7)
    for cursors, generation, of in (
        (CURSORS, "another history", "orders"),
        (Cursors(os.urandom(KEY_BYTES)), HERE, "orders"),
        (CURSORS, HERE, "products"),
    ):
        with pytest.raises(CursorExpired):
            cursors.open(generation, parse_cursor(of, cursor))  # type: ignore[arg-type]
    with pytest.raises(CursorInvalid):
        parse_cursor("changes", cursor)
