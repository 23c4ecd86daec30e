"""How many orders are taken at once."""

from __future__ import annotations

import pytest

from standfest.sales.bounds import LINES_MAX, count_within


@pytest.mark.parametrize(
    ("line_counts", "count"),
    [
        ([], 0),
        ([1, 1, 1], 3),
        ([LINES_MAX, 1], 1),
        ([LINES_MAX - 1, 1, 1], 2),
        ([LINES_MAX + 1, 1], 1),
        ([2_000] * 10, 2),
    ],
)
def test_orders_are_counted_by_their_lines(line_counts: list[int], count: int) -> None:
    """As many as fit, from the first on, and one in any case."""
    assert count_within(line_counts) == count
