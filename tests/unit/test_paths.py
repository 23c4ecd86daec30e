"""Which path orders take: facts in, the way out."""

from __future__ import annotations

import pytest

from standfest.intake.drain import IDLE_S
from standfest.intake.paths import (
    BACKLOG_AGE_MAX_S,
    DRAINERS_STUCK_S,
    LOOK_DIRECT_S,
    Path,
    Sight,
    is_old,
    look_again_s,
    next_path,
)

UNKNOWN = float("inf")


@pytest.mark.parametrize(
    ("answering_s", "rest_s", "age_s", "full", "path"),
    [
        (None, 0.0, 0.0, False, Path.JOURNAL),  # the database does not answer
        (None, 0.0, None, False, Path.JOURNAL),  # nor does the journal: who comes is told so
        (0.0, 0.0, 0.0, False, Path.DIRECT),  # nobody waits
        (0.0, 0.0, 0.9, False, Path.DIRECT),  # who waits came just now
        (0.0, 0.0, 2.1, False, Path.JOURNAL),  # nobody overtakes them
        (0.0, 0.0, UNKNOWN, False, Path.JOURNAL),  # how long they wait is not known
        (0.4, 0.5, 0.0, False, Path.JOURNAL),  # it has to answer for a while first
        (0.5, 0.5, 0.0, False, Path.DIRECT),
        (0.0, 0.0, None, False, Path.DIRECT),  # the journal is away
        (0.0, 0.0, 60.0, True, Path.DIRECT),  # the journal takes no more
    ],
)
def test_the_way_back_is_taken_when_it_overtakes_nobody(
    answering_s: float | None, rest_s: float, age_s: float | None, full: bool, path: Path
) -> None:
    """From the journal back to the database: when that answers well enough, and nobody is overtaken."""
    assert next_path(Sight(answering_s, rest_s, age_s, full)) is path


@pytest.mark.parametrize(
    ("answering_s", "standing_s", "path"),
    [
        (DRAINERS_STUCK_S, DRAINERS_STUCK_S, Path.DIRECT),  # taking orders goes before their order
        (DRAINERS_STUCK_S, 1.0, Path.JOURNAL),  # they are slow, and would be slower with others beside them
        (1.0, DRAINERS_STUCK_S, Path.JOURNAL),  # they could not do more while the database was away
    ],
)
def test_drainers_that_stand_still_hold_up_nobody(answering_s: float, standing_s: float, path: Path) -> None:
    """New orders go past those who wait only where nothing is drained although the database answers."""
    assert next_path(Sight(answering_s, 0.0, 60.0, False, standing_s)) is path


@pytest.mark.parametrize(
    ("age_s", "full", "old"),
    [(None, False, False), (0.0, False, False), (1.9, False, False), (2.0, False, True), (UNKNOWN, False, True),
     (60.0, True, False)],
)  # fmt: skip
def test_the_direct_path_is_left_for_those_who_wait(age_s: float | None, full: bool, old: bool) -> None:
    """Orders that wait for too long, or nobody knows for how long, are not overtaken, where the journal takes more."""
    assert is_old(age_s, journal_full=full) is old


@pytest.mark.parametrize(
    ("answering_s", "age_s", "pause_s"),
    [
        (None, None, 0.1),  # the database may be there at any moment
        (5.0, None, 0.1),
        (5.0, 0.0, 0.1),
        (5.0, 1.0, 0.1),
        (5.0, 10.0, 0.5),
        (5.0, 3600.0, 1.0),
        (5.0, UNKNOWN, 1.0),  # how long they wait is not known
    ],
)
def test_an_old_backlog_is_looked_at_less_often(answering_s: float | None, age_s: float | None, pause_s: float) -> None:
    """The pause grows with the backlog's age, between a tenth of a second and a whole one."""
    assert look_again_s(Sight(answering_s, 0.0, age_s, False)) == pytest.approx(pause_s)


def test_an_order_that_only_passes_through_the_journal_sends_nobody_there() -> None:
    """The bound leaves room for a look, the pause of the drainers and a round: an age is known to a look only."""
    assert BACKLOG_AGE_MAX_S >= LOOK_DIRECT_S + IDLE_S + 1.0
