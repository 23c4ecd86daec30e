"""How a client repeats a request: pure decisions."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.clients.attempts import (
    Acknowledged,
    Answer,
    Course,
    NotAttempted,
    Refused,
    RetryPolicy,
    Tried,
    Unknown,
    Verdict,
    conclude,
)
from standfest.clients.retry_budget import RetryBudget


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(201, {}), Verdict.DONE),
        (Answer(202, {}), Verdict.DONE),
        (Answer(201, None), Verdict.AMBIGUOUS),
        (Answer(429, None), Verdict.NOT_ATTEMPTED),
        (Answer(408, None), Verdict.NOT_ATTEMPTED),
        (Answer(503, {}, "unavailable"), Verdict.NOT_ATTEMPTED),
        (Answer(503, None), Verdict.AMBIGUOUS),
        (Answer(504, {}, "outcome-unknown"), Verdict.AMBIGUOUS),
        (Answer(502, None), Verdict.AMBIGUOUS),
        (Answer(500, None), Verdict.AMBIGUOUS),
        (Answer(409, {}), Verdict.REFUSED),
        (Answer(422, {}), Verdict.REFUSED),
    ],
)
def test_verdict(answer: Answer, verdict: Verdict) -> None:
    """Each kind of answer has one meaning, and a 503 that is not the product's own promises nothing."""
    assert answer.verdict() is verdict


@pytest.mark.parametrize(
    ("answer", "ambiguous", "outcome"),
    [
        (Answer(201, {}), 0, Acknowledged),
        (Answer(201, {}), 2, Acknowledged),
        (Answer(422, {}), 0, Refused),
        (Answer(422, {}), 1, Unknown),
        (Answer(409, {"order_id": "x"}), 1, Refused),
        (Answer(409, {}), 1, Unknown),
        (Answer(503, {}, "unavailable"), 0, NotAttempted),
        (Answer(503, {}, "unavailable"), 1, Unknown),
        (Answer(504, {}), 1, Unknown),
        (None, 0, NotAttempted),
        (None, 1, Unknown),
    ],
)
def test_conclude(answer: Answer | None, ambiguous: int, outcome: type[Tried]) -> None:
    """A refusal after an unanswered attempt is unknown, unless it is the recorded one."""
    assert type(conclude(Tried(3, ambiguous, 0.1, answer))) is outcome


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e9), st.integers())
def test_pause_is_bounded(failures: int, retry_after_s: float | None, seed: int) -> None:
    """No pause is longer than the cut Retry-After and the longest backoff together, or shorter than asked."""
    policy = RetryPolicy(backoff_max_s=2.0, retry_after_max_s=5.0)
    pause_s = policy.pause_s(failures, retry_after_s, Random(seed))
    assert min(retry_after_s or 0.0, 5.0) <= pause_s <= 7.0
    assert retry_after_s is not None or pause_s <= 2.0


POLICY = RetryPolicy(
    attempt_s=5.0, hedge_s=0.75, probe_hedge_s=0.2, deadline_s=10.0, backoff_first_s=0.05, backoff_max_s=0.05
)
YES, NO, LATER = Answer(202, {"status": "accepted"}), Answer(422, {}), Answer(429, {}, retry_after_s=1.0)


def course(*, hedged: bool = True, policy: RetryPolicy = POLICY) -> Course:
    """A request first submitted at second 100."""
    return Course(policy, 100.0, Random(1), hedged, RetryBudget(100.0))


def test_an_acknowledgement_ends_it() -> None:
    """After one attempt and a 202 nothing more is begun."""
    one = course()
    assert one.may_begin(100.0)
    assert one.begin(100.0) == 5.0
    assert one.answered(100.1, YES) is Verdict.DONE
    assert one.over(100.1)
    assert not one.may_begin(100.1)
    assert one.tried(100.1) == Tried(1, 0, pytest.approx(0.1), YES)  # type: ignore[arg-type]


def test_a_silent_attempt_is_not_waited_for_alone() -> None:
    """After the hedge's time the same request goes out once more, and whichever answer is definite ends it."""
    one = course()
    one.begin(100.0)
    assert not one.may_begin(100.7)
    assert one.wake_s(100.7) == pytest.approx(0.05)
    assert one.may_begin(100.75)
    one.begin(100.75)
    assert one.answered(100.8, YES) is Verdict.DONE
    assert one.over(100.8)
    assert one.tried(100.8) == Tried(2, 1, pytest.approx(0.8), YES)  # type: ignore[arg-type]


def test_never_more_than_two_at_a_time() -> None:
    """With two attempts under way nothing is begun until one of them ends."""
    one = course()
    one.begin(100.0)
    one.begin(100.75)
    assert one.wake_s(103.0) is None
    assert not one.may_begin(103.0)
    one.broke(103.0, sent=True)
    assert one.may_begin(103.0)


def test_a_door_that_is_probed_gets_less_time() -> None:
    """An attempt on a door that had failed is joined by another one sooner."""
    one = course()
    one.begin(100.0, probing=True)
    assert one.may_begin(100.2)


def test_what_must_not_be_done_twice_at_a_time_is_not() -> None:
    """Without leave to hedge a silent attempt is waited for, and repeated only when it has ended."""
    one = course(hedged=False)
    one.begin(100.0)
    assert one.wake_s(104.9) is None
    assert not one.may_begin(104.9)
    one.broke(105.0, sent=True)
    assert one.may_begin(105.0)


def test_the_first_break_is_repeated_at_once_and_later_ones_after_a_pause() -> None:
    """A connection that was reset costs no pause the first time; the second time it does."""
    one = course()
    one.begin(100.0)
    one.broke(100.0, sent=True)
    assert one.may_begin(100.0)
    one.begin(100.0)
    one.broke(100.0, sent=False)
    assert 0.0 < one.next_at - 100.0 <= 0.05
    assert one.tried(100.0) == Tried(2, 1, 0.0, None, broken=2)


def test_who_is_told_to_wait_waits() -> None:
    """After a 429 with Retry-After nothing begins before that time."""
    one = course()
    one.begin(100.0)
    one.answered(100.0, LATER)
    assert one.next_at >= 101.0
    assert not one.may_begin(100.99)


def test_a_refusal_waits_for_the_attempt_that_has_not_answered() -> None:
    """A refusal begins nothing more; an acknowledgement of the other attempt counts more than it."""
    one = course()
    one.begin(100.0)
    one.begin(100.75)
    one.answered(100.8, NO)
    assert not one.over(100.8)
    assert one.wake_s(100.8) is None
    one.answered(101.0, YES)
    assert one.over(101.0)
    assert type(conclude(one.tried(101.0))) is Acknowledged


@pytest.mark.parametrize(("second", "outcome"), [(NO, Refused), (Answer(504, {}), Unknown), (None, Unknown)])
def test_two_refusals_are_one(second: Answer | None, outcome: type[Tried]) -> None:
    """Refused is what both attempts were refused as; with one of them in doubt it is unknown."""
    one = course()
    one.begin(100.0)
    one.begin(100.75)
    one.answered(100.8, NO)
    if second is None:
        one.broke(105.0, sent=True)
    else:
        one.answered(101.0, second)
    assert one.over(105.0)
    assert type(conclude(one.tried(105.0))) is outcome


def test_an_acknowledgement_is_not_taken_back() -> None:
    """Where both attempts end at the same moment, the refusal does not replace the acknowledgement."""
    one = course()
    one.begin(100.0)
    one.begin(100.75)
    one.answered(100.8, YES)
    one.answered(100.8, NO)
    assert type(conclude(one.tried(100.8))) is Acknowledged


def test_the_deadline_ends_it() -> None:
    """No attempt begins in the last moments, and one that is under way has the time that is left."""
    one = course()
    one.begin(100.0)
    one.broke(105.0, sent=True)
    assert one.begin(107.0) == pytest.approx(3.0)
    one.broke(110.0, sent=True)
    assert one.over(110.0)
    assert not one.may_begin(110.0)


@given(st.lists(st.tuples(st.sampled_from("baw"), st.floats(0.0, 2.0)), max_size=60), st.integers(), st.booleans())
def test_a_course_ends_and_keeps_its_bounds(steps: list[tuple[str, float]], seed: int, hedged: bool) -> None:
    """Whatever happens, no more than two attempts are under way, none begins after the deadline, and it ends."""
    one = Course(POLICY, 100.0, Random(seed), hedged, RetryBudget(100.0))
    now = 100.0
    for kind, seconds in steps:
        if one.may_begin(now):
            assert now <= 110.0
            assert one.begin(now) > 0.0
        assert one.under_way <= (2 if hedged else 1)
        now += seconds
        if one.under_way and kind == "b":
            one.broke(now, sent=True)
        elif one.under_way and kind == "a":
            one.answered(now, LATER)
    while one.under_way:
        one.broke(now, sent=False)
    assert one.over(max(now, 110.0))


def test_without_budget_a_repeat_waits_and_the_outcome_says_so() -> None:
    """Where the client's budget is used up a due repeat is postponed and begins once there is a token, and the outcome
    tells how often it waited and what to do."""
    budget = RetryBudget(100.0)
    while budget.take(100.0, hedge=False):
        pass
    one = Course(POLICY, 100.0, Random(1), hedged=True, budget=budget)
    assert one.may_begin(100.0)
    one.begin(100.0)
    one.broke(100.0, sent=True)
    assert not one.may_begin(100.0)
    assert 100.0 < one.next_at <= 100.0 + POLICY.backoff_max_s
    assert one.may_begin(101.0)
    one.begin(101.0)
    one.broke(110.0, sent=True)
    outcome = conclude(one.tried(110.0))
    assert (type(outcome), outcome.postponed) == (Unknown, 1)
    assert "same key" in outcome.advice
