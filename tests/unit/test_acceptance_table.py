"""How a row of an acceptance table stands by all that was measured of it."""

from __future__ import annotations

import pytest

from tests.tables.measuring import ratio, timed
from tests.tables.slow import judged
from tests.tables.table import Measured, Result, Row, standing

ROW = Row("row", "What", "goal", 3, 1, lambda plan: Measured("", None))


def result(runs: int, violations: int = 0, holds: bool | None = True, *, short: bool = False) -> Result:
    """A measurement."""
    return Result("row", "2026-01-01T00:00:00+00:00", "abc", short, Measured("figure", holds, runs, violations))


@pytest.mark.parametrize(
    ("results", "holds", "decided"),
    [
        ([], False, False),
        ([result(2)], False, True),  # too few
        ([result(2), result(1)], True, True),  # measured in parts
        ([result(3), result(1, short=True)], True, True),
        ([result(3, violations=1, holds=False)], False, True),
        ([result(3, violations=1, holds=False), result(2)], False, True),  # counted anew from there on
        ([result(3, violations=1, holds=False), result(3)], True, True),
        ([result(7, holds=False)], False, True),
        ([result(7, holds=None)], False, False),  # the spread is wider than the distance to the goal
    ],
)
def test_a_row_holds_only_where_enough_was_measured_and_nothing_speaks_against_it(
    results: list[Result], holds: bool, decided: bool
) -> None:
    """Runs add up since the last violation, and a newest result that decides nothing is none that holds."""
    found = standing(ROW, results)
    assert (found.holds, found.decided) == (holds, decided)


@pytest.mark.parametrize(
    ("pairs", "goal", "at_most", "holds"),
    [
        ([0.98, 0.99, 1.0], 0.97, False, True),
        ([0.90, 0.91, 0.92], 0.97, False, False),
        ([0.80, 0.96, 1.20], 0.97, False, None),
        ([1.0, 1.05, 1.08], 1.1, True, True),
        ([1.3, 1.31, 1.32], 1.1, True, False),
        ([0.8, 1.11, 1.5], 1.1, True, None),
    ],
)
def test_a_ratio_is_not_decided_where_it_is_missed_by_less_than_half_the_spread(
    pairs: list[float], goal: float, at_most: bool, holds: bool | None
) -> None:
    """A median that reaches its goal holds; one that misses it falls short only where the pairs agree on that."""
    assert ratio(pairs, goal, 2_500.0, at_most=at_most).holds is holds


def test_times_decide_on_a_quick_machine_only() -> None:
    """Where pgbench is slow a time is told as it is and as it would be at the reference, plainly where that is over the
    goal, and holds."""
    assert timed("p99", 0.9, 1.0, 2_500.0) == ("p99 0.90 s (goal 1 s)", True)
    assert timed("p99", 1.9, 1.0, 2_500.0) == ("p99 1.90 s (goal 1 s), over", False)
    told, holds = timed("p99", 3.0, 1.0, 500.0)
    assert (told, holds) == ("p99 3.00 s (goal 1 s), 0.75 s if pgbench wrote 2000 orders/s", True)
    told, holds = timed("p99", 8.0, 1.0, 500.0)
    assert (told, holds) == ("p99 8.00 s (goal 1 s), 2.00 s if pgbench wrote 2000 orders/s, over", True)


@pytest.mark.parametrize(
    ("what", "goal", "unit", "least", "median", "most", "starved", "holds", "wrong"),
    [
        ("accepted/s ÷ the most", "≥ 0.9", "", 0.85, 0.95, 0.97, False, True, 0),
        ("accepted/s ÷ the most", "≥ 0.9", "", 0.85, 0.85, 0.97, True, False, 0),
        ("answered otherwise", "≤ 0", "", 0.0, 0.0, 3.0, False, False, 3),  # a count is a promise in every round
        ("answered otherwise", "≤ 0", "", 0.0, 0.0, 0.0, False, True, 0),
        ("share of reads that are answered", "≥ 1", "", 0.98, 0.99, 1.0, False, False, 1),
        ("share of reads that are answered", "≥ 1", "", 0.98, 1.0, 1.0, False, False, 1),  # in every round as well
        ("share of reads that are answered", "≥ 1", "", 1.0, 1.0, 1.0, True, True, 0),
        ("p99 of the refused", "≤ 50 ms", "ms", 35.0, 40.0, 45.0, False, True, 0),
        ("p99 of the refused", "≤ 50 ms", "ms", 70.0, 80.0, 90.0, False, False, 0),
        ("p99 of the refused", "≤ 50 ms", "ms", 70.0, 80.0, 90.0, True, True, 0),  # told only
    ],
)
def test_how_a_figure_of_a_benchmark_is_judged(
    what: str, goal: str, unit: str, least: float, median: float, most: float, starved: bool, holds: bool, wrong: int
) -> None:
    """Promises hold by their worst round, ratios by their median, and times where the whole machine is there."""
    figure = {"what": what, "goal": goal, "unit": unit, "min": least, "median": median, "max": most}
    reached = median >= 0.9 if goal == "≥ 0.9" else median >= 1 if goal == "≥ 1" else median <= 0
    assert judged({**figure, "reached": reached}, 2_500.0, starved=starved)[1:] == (holds, wrong)
