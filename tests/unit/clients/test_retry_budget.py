"""How often a client repeats over all its requests: pure decisions, and whole clients in simulated time."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.clients.attempts import Acknowledged, Answer, Course, Outcome, RetryPolicy, conclude
from standfest.clients.retry_budget import FLOOR_PER_S, HEDGE_MIN, RESERVE, SHARE, RetryBudget

YES = Answer(201, {})
TOO_MUCH = Answer(429, None, retry_after_s=1.0)
Reply = tuple[float, Answer | None]
"""Seconds until an attempt ends, and its answer; None: its connection breaks."""


@dataclass
class Simulated:
    """One client that sends open loop, against what `reply` says of an attempt begun at a moment."""

    rate_per_s: float
    seconds: float
    reply: Callable[[float], Reply]
    attempts: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, policy: RetryPolicy | None = None) -> "Simulated":
        """Sends for so many seconds, and goes on until every request has ended."""
        policy, random, budget = policy or RetryPolicy(), Random(1), RetryBudget(0.0)
        turns: list[tuple[float, int, Course, Reply | None]] = []
        order = itertools.count()
        for number in range(int(self.rate_per_s * self.seconds)):
            at = number / self.rate_per_s
            course = Course(policy, at, random, hedged=True, budget=budget)
            heapq.heappush(turns, (at, next(order), course, None))
        ended: set[Course] = set()
        while turns:
            now, _, course, ending = heapq.heappop(turns)
            if course in ended:
                continue
            match ending:
                case (_, None):
                    course.broke(now, sent=True)
                case (_, answer):
                    course.answered(now, answer)
            while course.may_begin(now):
                self.attempts += 1
                time_s = course.begin(now)
                takes_s, answer = self.reply(now)
                end = (now + min(takes_s, time_s), next(order), course, (takes_s, answer if takes_s < time_s else None))
                heapq.heappush(turns, end)
            if course.over(now):
                ended.add(course)
                self.outcomes.append(conclude(course.tried(now)))
            elif (wake_s := course.wake_s(now)) is not None:
                heapq.heappush(turns, (now + wake_s, next(order), course, None))
        return self

    def in_vain(self) -> int:
        """Repeats that did not bring an acknowledgement."""
        brought = sum(isinstance(outcome, Acknowledged) and outcome.attempts > 1 for outcome in self.outcomes)
        return self.attempts - len(self.outcomes) - brought

    def slowest_s(self) -> float:
        """The longest time from a first submission to its outcome."""
        return max(outcome.elapsed_s for outcome in self.outcomes)


def gap(begin: float, end: float) -> Callable[[float], Reply]:
    """Every connection breaks at once in this time; before and after an answer takes 20 ms."""
    return lambda now: (0.001, None) if begin <= now < end else (0.02, YES)


def refuses_half() -> Callable[[float], Reply]:
    """A door that refuses one of two attempts, by chance."""
    random = Random(2)
    return lambda _: (0.01, random.choice((YES, TOO_MUCH)))


@pytest.mark.parametrize(("rate_per_s", "gap_s"), [(200.0, 1.0), (40.0, 10.0), (200.0, 10.0), (1.0, 10.0)])
def test_a_failover_fails_no_order(rate_per_s: float, gap_s: float) -> None:
    """While every connection breaks for a while, each order is acknowledged, soon after the gap at the latest, and the
    repeats in vain are what was saved and a share of the requests."""
    run = Simulated(rate_per_s, 30.0, gap(10.0, 10.0 + gap_s)).run()
    assert {type(outcome) for outcome in run.outcomes} == {Acknowledged}
    assert run.slowest_s() <= gap_s + 3.0
    assert run.in_vain() <= SHARE * len(run.outcomes) + FLOOR_PER_S * gap_s + RESERVE


@pytest.mark.parametrize("rate_per_s", [40.0, 200.0])
def test_a_short_gap_postpones_nothing(rate_per_s: float) -> None:
    """What breaks within 0.3 s is repeated as if there were no budget."""
    run = Simulated(rate_per_s, 20.0, gap(10.0, 10.3)).run()
    assert sum(outcome.postponed for outcome in run.outcomes) == 0


@pytest.mark.parametrize(
    "reply",
    [lambda _: (1.2, YES), refuses_half(), lambda _: (3.0, Answer(504, {}))],
    ids=["every answer is late", "every second attempt is refused", "nothing is answered in time"],
)
def test_a_slow_cluster_is_not_driven_down(reply: Callable[[float], Reply]) -> None:
    """However slow the cluster is, repeats in vain are a share of the requests, the floor, and what was saved."""
    run = Simulated(50.0, 60.0, reply).run(RetryPolicy(deadline_s=20.0))
    assert run.in_vain() <= SHARE * len(run.outcomes) + FLOOR_PER_S * 80.0 + RESERVE
    assert sum(outcome.postponed for outcome in run.outcomes) > 0


def test_without_tokens_what_is_optional_ends_first() -> None:
    """Second attempts beside silent ones leave the rest to repeats of what broke."""
    budget = RetryBudget(0.0)
    assert sum(budget.take(0.0, hedge=True) for _ in range(1000)) == RESERVE - HEDGE_MIN
    assert sum(budget.take(0.0, hedge=False) for _ in range(1000)) == HEDGE_MIN


def test_a_repeat_that_brings_the_answer_costs_nothing() -> None:
    """Its token comes back; that of a second attempt beside a silent one does not."""
    for hedged, left in ((False, RESERVE), (True, RESERVE - 1.0)):
        budget = RetryBudget(0.0)
        one = Course(RetryPolicy(), 0.0, Random(1), hedged, budget)
        assert one.may_begin(0.0)
        one.begin(0.0)
        now = 0.75 if hedged else 0.0
        if not hedged:
            one.broke(0.0, sent=True)
        assert one.may_begin(now)
        one.begin(now)
        one.answered(now, YES)
        assert budget.tokens(now) == pytest.approx(left + SHARE, abs=0.02)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.sampled_from("rrthg")), max_size=200))
def test_no_more_is_taken_than_there_was(steps: list[tuple[float, str]]) -> None:
    """Whatever a client does, attempts without a token never begin, and in any time no more are taken than the reserve,
    the floor, the share of the requests and what was given back."""
    budget = RetryBudget(0.0)
    now, taken, brought = 0.0, 0, RESERVE
    for seconds, step in steps:
        now += seconds
        brought += FLOOR_PER_S * seconds
        if step == "r":
            budget.requested(now)
            brought += SHARE
        elif step == "g":
            if taken:
                budget.give_back(now)
                taken -= 1
        else:
            taken += budget.take(now, hedge=step == "h")
        assert taken <= brought + 1e-6
        assert budget.tokens(now) >= -1e-6


@given(st.floats(0.0, 1e6), st.integers(0, 200))
def test_who_waits_long_enough_has_the_reserve_again(began: float, spent: int) -> None:
    """Tokens come back while nothing is sent, and neither time nor rest brings more than the reserve."""
    budget = RetryBudget(began)
    for _ in range(spent):
        budget.take(began, hedge=False)
    assert budget.take(began + 0.2, hedge=False)
    assert budget.tokens(began + 200.0) == pytest.approx(RESERVE, abs=0.01)
