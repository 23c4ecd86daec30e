"""The limit of orders under way: what it follows, and where it stays."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.intake.concurrency import (
    DELAY_MAX_S,
    DELAY_MIN_S,
    LIMIT_MIN,
    SETTLED_S,
    ConcurrencyLimit,
    wanted_delay_s,
)

MOST = 768


class Machine:
    """Answers orders one after the other at a rate, as long as more come than it answers."""

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self.limit = limit
        self.now = 0.0
        self.delays: list[float] = []
        self._held: deque[float] = deque()
        self._done = 0.0

    def run(self, seconds: float, per_s: float, commit_s: float = 0.02) -> None:
        """Offers ten times what is answered."""
        until, step = self.now + seconds, 0.01
        self.delays.clear()
        while self.now < until:
            self.now += step
            room = self.limit.limit - len(self._held)
            self._held.extend([self.now] * max(min(room, int(10 * per_s * step) + 1), 0))
            self._done += per_s * step
            while self._done >= 1 and self._held:
                self._done -= 1
                delay_s = self.now - self._held[0] + commit_s
                self.limit.answered(delay_s, len(self._held), commit_s, self.now)
                self._held.popleft()
                self.delays.append(delay_s)


@pytest.mark.parametrize("per_s", [20, 50, 100, 300, 700])
def test_orders_are_answered_in_time_at_any_rate(per_s: float) -> None:
    """However slow the machine, once the limit has fallen accepted orders wait about as long as is wanted."""
    machine = Machine(ConcurrencyLimit(MOST))
    machine.run(60, per_s)
    machine.run(10, per_s)
    at_most_s = max(2 * DELAY_MIN_S, 2 * LIMIT_MIN / per_s)
    assert max(machine.delays) < at_most_s
    assert len(machine.delays) > 9 * per_s


def test_a_machine_that_is_quick_again_is_used_again() -> None:
    """After a slow time the limit grows to what the machine answers in time, within half a minute."""
    machine = Machine(ConcurrencyLimit(MOST))
    machine.run(30, 30)
    machine.run(30, 600)
    assert machine.limit.limit > 0.8 * 600 * DELAY_MIN_S


def test_an_outage_takes_nothing_away() -> None:
    """Orders that waited for the end of an outage are late, and lower no limit where the next ones are in time."""
    limit = ConcurrencyLimit(MOST)
    for number in range(500):
        limit.answered(3.0, 600, 0.02, 10 + number / 1000)
    for number in range(500):
        limit.answered(0.05, 30, 0.02, 10.5 + number / 1000)
    assert limit.limit == MOST


def test_a_few_in_time_are_enough() -> None:
    """Orders that wait for something of their own, locked stock perhaps, hold nobody else back."""
    limit = ConcurrencyLimit(MOST)
    for number in range(2_000):
        limit.answered(0.05 if number % 10 == 0 else 2.0, 50, 0.02, number / 100)
    assert limit.limit == MOST


def test_late_orders_far_apart_lower_nothing() -> None:
    """Two lone orders that an hour apart were late say nothing of how many are answered in time."""
    limit = ConcurrencyLimit(MOST)
    for hour in range(5):
        limit.answered(0.6, 1, 0.02, 3600.0 * hour)
        limit.answered(0.6, 40, 0.02, 3600.0 * hour + 10)
    assert limit.limit == MOST


def test_few_orders_lower_nothing_however_late() -> None:
    """A trickle that is late for minutes is not late because too many are under way."""
    limit = ConcurrencyLimit(MOST)
    for number in range(600):
        limit.answered(3.0, LIMIT_MIN, 0.02, number / 10)
    assert limit.limit == MOST


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_a_limit_that_fell_grows_with_one_door_or_one_client(share: float) -> None:
    """One of two doors gives half of the limit, one client gets three quarters of it: that is use enough."""
    limit = ConcurrencyLimit(MOST)
    fall(limit)
    for number in range(2_000):
        limit.answered(0.1, int(share * limit.limit), 0.02, 100 + number / 200)
    assert limit.limit > 10 * LIMIT_MIN


@pytest.mark.parametrize("per_s", [1, 10, 60])
def test_a_limit_that_fell_is_forgotten_in_a_quiet_time(per_s: int) -> None:
    """Half a minute after the last late order, with few orders and all in time, the next outage finds all the room
    there was: the doors give few orders to a process that wants few, and it gets out of that."""
    limit = ConcurrencyLimit(MOST)
    fall(limit)
    for number in range(int((SETTLED_S + 25) * per_s)):
        limit.answered(0.02, 2, 0.02, 40 + number / per_s)
    assert limit.limit == MOST


def fall(limit: ConcurrencyLimit) -> None:
    """Makes it as low as it gets."""
    for number in range(400):
        limit.answered(5.0, limit.limit + 1, 0.02, number / 10)
    assert limit.limit == LIMIT_MIN


@given(
    st.lists(
        st.tuples(
            st.floats(0, 100, allow_nan=False),
            st.integers(0, 2 * MOST),
            st.floats(0, 50, allow_nan=False),
            st.floats(0, 5),
        )
    )
)
def test_the_limit_stays_between_its_bounds(answers: list[tuple[float, int, float, float]]) -> None:
    """Whatever is measured, some orders go on, and no more than the most are held."""
    limit, now = ConcurrencyLimit(MOST), 0.0
    for delay_s, under_way, commit_s, passed_s in answers:
        now += passed_s
        limit.answered(delay_s, under_way, commit_s, now)
        assert LIMIT_MIN <= limit.limit <= MOST


@pytest.mark.parametrize(("commit_s", "wanted_s"), [(0, DELAY_MIN_S), (0.3, 0.9), (5, DELAY_MAX_S)])
def test_what_is_in_time_follows_the_commit(commit_s: float, wanted_s: float) -> None:
    """In time is three commits, between two bounds."""
    assert wanted_delay_s(commit_s) == pytest.approx(wanted_s)
