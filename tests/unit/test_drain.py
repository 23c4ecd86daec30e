"""Draining gives way to new orders, and knows when an entry has failed alone for long enough."""

import pytest

from standfest.intake.drain_ahead import GIVE_WAY_MAX_S, give_way_s
from standfest.intake.left_aside import ALONE_MAX, ALONE_S, Alone


@pytest.mark.parametrize(("read_s", "pause_s"), [(0.0, 0.0), (0.09, 0.0), (0.2, 0.2), (3.0, GIVE_WAY_MAX_S)])
def test_a_strained_journal_is_left_alone_for_a_moment(read_s: float, pause_s: float) -> None:
    """A journal that is quick to answer is not spared, a slow one for as long as it took, up to a bound."""
    assert give_way_s(read_s) == pause_s


@pytest.mark.parametrize(
    ("times", "within_s", "enough"),
    [(ALONE_MAX, ALONE_S, True), (ALONE_MAX - 1, 9 * ALONE_S, False), (9 * ALONE_MAX, ALONE_S - 1, False)],
)
def test_an_entry_is_set_apart_after_enough_failures_and_enough_time(times: int, within_s: float, enough: bool) -> None:
    """Neither a few failures that are far apart nor many within a moment are the entry's own fault."""
    alone = Alone()
    for number in range(times):
        alone = alone.again(1_000.0 + within_s * number / (times - 1))
    assert alone.is_enough(1_000.0 + within_s) is enough
