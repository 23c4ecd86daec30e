"""Busy loops: how long one runs in a period, and when what they took counts."""

import pytest

from standfest.emergency.loops import PERIOD_S, owed_s, void


@pytest.mark.parametrize(
    ("since_s", "used_s", "owed"),
    [
        (0.0, 0.0, 0.75 * PERIOD_S),
        (1.0, 0.75, 0.75 * PERIOD_S),
        (1.0, 0.5, PERIOD_S),
        (1.0, 0.8, 0.0),
    ],
)
def test_a_loop_runs_for_what_it_lacks(since_s: float, used_s: float, owed: float) -> None:
    """By the end of each period a loop has its share of the time since it began, as far as one period gives it."""
    assert owed_s(0.75, since_s, used_s) == pytest.approx(owed)


@pytest.mark.parametrize(
    ("took", "whole", "reason"),
    [
        (0.75, True, ""),
        (0.79, True, ""),
        (0.71, True, ""),
        (0.69, True, "the busy loops were to take 75% of the processor and took 69%"),
        (0.81, True, "the busy loops were to take 75% of the processor and took 81%"),
        (0.75, False, "the busy loops ended before what was measured under them"),
    ],
)
def test_another_share_is_void(took: float, whole: bool, reason: str) -> None:
    """What was measured counts where the loops ran until its end and took what they were to, within 5 points."""
    assert void(0.75, took, whole=whole) == reason
