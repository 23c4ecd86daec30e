"""How a row of an acceptance table stands by all that was measured of it."""

from __future__ import annotations

import pytest

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
