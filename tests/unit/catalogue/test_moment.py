"""How long ago a moment in a file was, whatever was done to the clocks."""

from __future__ import annotations

import pytest

from standfest.catalogue.moment import CLOCK_TOLERANCE_S, Moment

THEN = Moment("run 1", 1_000.0, 1_800_000_000.0)


@pytest.mark.parametrize(
    ("now", "age_s"),
    [
        pytest.param(Moment("run 1", 1_060.0, 1_800_000_060.0), 60.0, id="the same run of the machine"),
        pytest.param(Moment("run 1", 1_060.0, 1_800_003_660.0), 60.0, id="its wall clock was set an hour ahead"),
        pytest.param(Moment("run 1", 1_060.0, 1_799_996_460.0), 60.0, id="its wall clock was set back by an hour"),
        pytest.param(Moment("run 2", 5.0, 1_800_000_060.0), 60.0, id="it has booted since"),
        pytest.param(Moment("run 1", 5.0, 1_800_000_060.0), 60.0, id="another clock under the same name"),
        pytest.param(Moment("", 1_060.0, 1_800_000_090.0), 90.0, id="the run is not known"),
        pytest.param(Moment("run 2", 5.0, THEN.wall_s - CLOCK_TOLERANCE_S), 0.0, id="booted, and a little slow"),
        pytest.param(Moment("run 2", 5.0, THEN.wall_s - CLOCK_TOLERANCE_S - 1), None, id="booted, and set back"),
    ],
)
def test_the_age_of_a_moment(now: Moment, age_s: float | None) -> None:
    """The machine's own clock decides while it runs, then the wall clock, and no age is below 0."""
    assert THEN.age_s(now) == age_s


def test_a_moment_ago_is_as_old_as_said() -> None:
    """Both clocks are taken back by as much."""
    now, then = Moment.ago(0), Moment.ago(30)
    age_s = then.age_s(now)
    assert age_s is not None
    assert 29 < age_s <= 30
    assert 29 < now.wall_s - then.wall_s < 31
