"""How many orders are read or changed at once: an order has up to 2,000 lines, so they are counted by their lines."""

from collections.abc import Iterable

LINES_MAX = 5_000


def count_within(line_counts: Iterable[int]) -> int:
    """How many orders, from the first on, have at most `LINES_MAX` lines together; one in any case."""
    total = count = 0
    for lines in line_counts:
        total += lines
        if count and total > LINES_MAX:
            break
        count += 1
    return count
