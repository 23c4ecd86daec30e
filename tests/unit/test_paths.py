"""Which path orders take: facts in, the way out."""

from __future__ import annotations

import datetime

import pytest

from standfest.intake.journal import Backlog
from standfest.intake.paths import DRAINERS_STUCK_S, Path, Sight, look_again_s, next_path

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def backlog(count: int, age_s: float | None) -> Backlog:
    """So many orders, the oldest accepted so long ago."""
    return Backlog(count, None if age_s is None else NOW - datetime.timedelta(seconds=age_s))


@pytest.mark.parametrize(
    ("answering_s", "rest_s", "waiting", "full", "path"),
    [
        (None, 0.0, backlog(0, None), False, Path.JOURNAL),  # the database does not answer
        (None, 0.0, None, False, Path.JOURNAL),  # nor does the journal: who comes is told so
        (0.0, 0.0, backlog(0, None), False, Path.DIRECT),  # nobody waits
        (0.0, 0.0, backlog(5, 0.9), False, Path.DIRECT),  # who waits came just now
        (0.0, 0.0, backlog(5, 1.1), False, Path.JOURNAL),  # nobody overtakes them
        (0.0, 0.0, backlog(5, None), False, Path.JOURNAL),  # how long they wait is not known
        (0.0, 0.0, backlog(5, -3600.0), False, Path.JOURNAL),  # nor by a clock that is an hour ahead
        (0.0, 0.0, backlog(5, -0.1), False, Path.DIRECT),  # clocks differ a little
        (0.4, 0.5, backlog(0, None), False, Path.JOURNAL),  # it has to answer for a while first
        (0.5, 0.5, backlog(0, None), False, Path.DIRECT),
        (0.0, 0.0, None, False, Path.DIRECT),  # the journal is away
        (0.0, 0.0, backlog(5, 60.0), True, Path.DIRECT),  # the journal takes no more
        (DRAINERS_STUCK_S, 0.0, backlog(5, 60.0), False, Path.DIRECT),  # taking orders goes before their order
    ],
)
def test_the_way_back_is_taken_when_it_overtakes_nobody(
    answering_s: float | None, rest_s: float, waiting: Backlog | None, full: bool, path: Path
) -> None:
    """From the journal back to the database: when that answers well enough, and nobody is overtaken."""
    assert next_path(Sight(answering_s, rest_s, waiting, full, NOW)) is path


@pytest.mark.parametrize(
    ("answering_s", "waiting", "pause_s"),
    [
        (None, None, 0.1),  # the database may be there at any moment
        (5.0, None, 0.1),
        (5.0, backlog(0, None), 0.1),
        (5.0, backlog(5, 1.0), 0.1),
        (5.0, backlog(5, 10.0), 0.5),
        (5.0, backlog(5, 3600.0), 1.0),
        (5.0, backlog(5, None), 1.0),  # how long they wait is not known
    ],
)
def test_an_old_backlog_is_looked_at_less_often(
    answering_s: float | None, waiting: Backlog | None, pause_s: float
) -> None:
    """The pause grows with the backlog's age, between a tenth of a second and a whole one."""
    assert look_again_s(Sight(answering_s, 0.0, waiting, False, NOW)) == pytest.approx(pause_s)
