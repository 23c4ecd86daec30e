"""Waits that follow from how long commits take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.intake.commit_times import (
    ATTEMPT_MAX_S,
    ATTEMPT_MIN_S,
    GATHER_MAX_S,
    GATHER_MIN_S,
    SILENCE_MAX_S,
    SILENCE_MIN_S,
    SPACING_MAX_S,
    SPACING_MIN_S,
    CommitTimes,
)


def test_without_commits_the_machine_may_be_slow() -> None:
    """A process that has committed nothing yet waits longer than on a quick one, and leaves time for the journal."""
    times = CommitTimes(0)
    assert SILENCE_MIN_S < times.silence_max_s(0) < times.attempt_max_s(0) <= ATTEMPT_MAX_S
    assert times.mean_s == 0


def test_a_slow_commit_makes_the_waits_longer_for_a_while() -> None:
    """They are as long as twice and three times the slowest commit, and back at the shortest after 20 s."""
    times = CommitTimes(0)
    for seconds in (0.02, 0.7, 0.03):
        times.note(seconds, 5)
    assert times.silence_max_s(6) == 1.4
    assert times.attempt_max_s(6) == pytest.approx(2.1)
    assert times.silence_max_s(14.9) == 1.4
    assert times.silence_max_s(20.1) == SILENCE_MIN_S


def test_a_quiet_time_forgets_nothing_but_what_once_happened() -> None:
    """An order an hour at 0.4 s a commit: each finds the patience that it needs."""
    times = CommitTimes(0)
    for hour in range(5):
        times.note(0.4, 3600 * hour)
        assert times.silence_max_s(3600 * hour + 3599) == pytest.approx(0.8)


def test_the_mean_follows_what_commits_take() -> None:
    """A single slow commit moves it little, lasting slowness wholly."""
    times = CommitTimes(0)
    for _ in range(100):
        times.note(0.05, 1)
    times.note(1.0, 1)
    assert times.mean_s < 0.2
    for _ in range(100):
        times.note(1.0, 2)
    assert times.mean_s == pytest.approx(1.0, rel=0.01)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 100))))
def test_waits_stay_between_their_bounds(commits: list[tuple[float, float]]) -> None:
    """Whatever is measured, no wait is shorter than on a quick machine or too long for the journal behind it."""
    times, now = CommitTimes(0), 0.0
    for seconds, passed_s in commits:
        now += passed_s
        times.note(seconds, now)
        assert SILENCE_MIN_S <= times.silence_max_s(now) <= SILENCE_MAX_S
        assert ATTEMPT_MIN_S <= times.attempt_max_s(now) <= ATTEMPT_MAX_S
        assert times.silence_max_s(now) < times.attempt_max_s(now)
        assert GATHER_MIN_S <= times.gather_s <= GATHER_MAX_S
        assert SPACING_MIN_S <= times.spacing_s <= SPACING_MAX_S


@pytest.mark.parametrize(
    ("commit_s", "gather_s", "spacing_s"), [(0.003, GATHER_MIN_S, SPACING_MIN_S), (0.03, 0.03, 0.06)]
)
def test_batches_leave_further_apart_where_commits_take_longer(
    commit_s: float, gather_s: float, spacing_s: float
) -> None:
    """One commit apart, and a second one beside the first after two; on a quick machine as close as is worth while."""
    times = CommitTimes(0)
    for _ in range(200):
        times.note(commit_s, 1)
    assert (times.gather_s, times.spacing_s) == pytest.approx((gather_s, spacing_s))
