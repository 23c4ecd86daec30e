"""Draining knows when an entry has failed alone for long enough, and how long a locked row is worth waiting for."""

from typing import Any, cast

import pytest

from standfest.intake.drain import Drainer
from standfest.intake.left_aside import ALONE_MAX, ALONE_S, Alone


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


@pytest.mark.parametrize(
    ("writes_s", "wait_s"),
    [([], 0.1), ([0.01] * 9, 0.1), ([0.2, 0.1], 0.4), ([0.2] + [0.05] * 8, 0.1), ([3.0], 0.5)],
)
def test_a_locked_row_is_waited_for_longer_where_writing_is_slow(writes_s: list[float], wait_s: float) -> None:
    """For twice as long as the slowest of the last writes took, within bounds: other batches hold rows as long."""
    drainer = Drainer(cast("Any", None), cast("Any", None))
    drainer._writes_s.extend(writes_s)
    assert drainer._lock_wait_s == wait_s
