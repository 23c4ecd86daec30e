"""How a client repeats a request: pure decisions."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.clients.attempts import (
    Acknowledged,
    Answer,
    Doors,
    NotAttempted,
    Refused,
    RetryPolicy,
    Tried,
    Unknown,
    Verdict,
    conclude,
)


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


def test_doors_in_turn() -> None:
    """Doors that work are used in turn."""
    doors = Doors(["http://a/", "http://b"], rest_s=2.0)
    assert [doors.choose(0.0) for _ in range(4)] == ["http://a", "http://b", "http://a", "http://b"]


def test_a_failed_door_rests() -> None:
    """A door that failed is left alone until its rest is over or it has answered again."""
    doors = Doors(["http://a", "http://b"], rest_s=2.0)
    doors.failed("http://a", 10.0)
    assert {doors.choose(11.9) for _ in range(4)} == {"http://b"}
    assert {doors.choose(12.1) for _ in range(4)} == {"http://a", "http://b"}
    doors.failed("http://a", 20.0)
    doors.worked("http://a")
    assert {doors.choose(20.0) for _ in range(4)} == {"http://a", "http://b"}


def test_a_repeat_takes_the_other_door() -> None:
    """The door of the last attempt is not the next one while another is as good, whoever's turn it is."""
    doors = Doors(["http://a", "http://b"], rest_s=2.0)
    assert [doors.choose(0.0, not_this="http://a") for _ in range(3)] == ["http://b"] * 3


def test_the_only_door_is_used_while_it_rests() -> None:
    """Where every door rests, the one whose rest ends first is tried."""
    doors = Doors(["http://a", "http://b"], rest_s=2.0)
    doors.failed("http://a", 10.0)
    doors.failed("http://b", 11.0)
    assert doors.choose(11.5) == "http://a"


def test_no_doors() -> None:
    """A client without a door is a mistake of whoever made it."""
    with pytest.raises(ValueError, match="at least one door"):
        Doors([], rest_s=2.0)
