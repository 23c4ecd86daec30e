"""The queue in which owners take turns."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.intake.turns import Turns

ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=30)


@given(ITEMS)
def test_each_owners_items_come_in_their_order_and_all_come_once(items: list[tuple[str, int]]) -> None:
    """What is taken is what was put in, and of each owner first come first served."""
    turns: Turns[tuple[str, int]] = Turns()
    for owner, number in items:
        turns.append(owner, (owner, number))
    taken = [turns.take() for _ in range(len(turns))]
    for owner in "abc":
        assert [each for each in taken if each[0] == owner] == [each for each in items if each[0] == owner]
    assert len(turns) == 0


@given(ITEMS)
def test_nobody_is_served_twice_while_another_waits(items: list[tuple[str, int]]) -> None:
    """At any time no owner that still waits was served less often than another, but for the turn under way."""
    turns: Turns[str] = Turns()
    for owner, _ in items:
        turns.append(owner, owner)
    served: Counter[str] = Counter()
    while len(turns):
        served[turns.take()] += 1
        waiting = set(turns)
        assert all(served[waits] >= most - 1 for waits in waiting for most in served.values())


def test_what_is_put_back_comes_first_of_its_owners() -> None:
    """It did not lose its place among its owner's."""
    turns: Turns[int] = Turns()
    turns.append("a", 1)
    turns.append("a", 2)
    turns.put_back("a", turns.take())
    assert [turns.take(), turns.take()] == [1, 2]
    with pytest.raises(IndexError):
        turns.take()
