"""Draining gives way to new orders."""

import pytest

from standfest.intake.drain_ahead import GIVE_WAY_MAX_S, give_way_s


@pytest.mark.parametrize(("read_s", "pause_s"), [(0.0, 0.0), (0.09, 0.0), (0.2, 0.2), (3.0, GIVE_WAY_MAX_S)])
def test_a_strained_journal_is_left_alone_for_a_moment(read_s: float, pause_s: float) -> None:
    """A journal that is quick to answer is not spared, a slow one for as long as it took, up to a bound."""
    assert give_way_s(read_s) == pause_s
