"""When asking database or journal is given up, and when it is tried again."""

import pytest

from standfest.storage.promptness import GIVEN_UP_S, PROMPT_AGAIN, PROMPT_S, Promptness

QUICK_S = 0.01


def failing(until: float = 100.0 + GIVEN_UP_S + 1) -> Promptness:
    """One that has failed each second from 100 s on."""
    promptness = Promptness()
    promptness.answered(QUICK_S, 99)
    at = 100.0
    while at <= until:
        promptness.failed(at)
        at += 1
    return promptness


def test_nothing_known_is_worth_a_try() -> None:
    """Where nothing was ever asked, asking is not given up, however much time passes."""
    assert not Promptness().given_up(1e9)


def test_it_is_given_up_once_it_has_failed_for_long() -> None:
    """Failures give it up after GIVEN_UP_S, and not before."""
    assert not failing(100.0).given_up(100 + GIVEN_UP_S)
    assert failing(100.0).given_up(100 + GIVEN_UP_S + 0.1)


def test_a_late_answer_is_a_failure() -> None:
    """Answers that came, each too late for an order, give it up as well."""
    promptness = Promptness()
    for at in (100.0, 103.0, 106.0):
        promptness.answered(PROMPT_S + 0.1, at)
    assert promptness.given_up(106.0)


def test_one_prompt_answer_among_failures_keeps_it() -> None:
    """A database that is prompt now and then is not given up in between."""
    promptness = Promptness()
    for at in range(100, 200, 2):
        promptness.failed(at)
        promptness.answered(QUICK_S, at + 1)
        assert not promptness.given_up(at + 1)


def test_a_process_that_stood_still_has_given_up_nothing() -> None:
    """Its first failure after a minute says nothing of that minute."""
    promptness = Promptness()
    promptness.answered(QUICK_S, 100)
    promptness.failed(160)
    assert not promptness.given_up(160)


@pytest.mark.parametrize(("prompt", "given_up"), [(PROMPT_AGAIN - 1, True), (PROMPT_AGAIN, False)])
def test_it_is_tried_again_after_prompt_answers_in_a_row(prompt: int, given_up: bool) -> None:
    """One answer that was prompt by chance is not enough; whether somebody asked meanwhile makes no difference."""
    promptness = failing()
    for number in range(prompt):
        promptness.answered(QUICK_S, 110 + number)
    assert promptness.given_up(115) is given_up


def test_a_failure_in_between_begins_the_row_anew() -> None:
    """Prompt answers that are not in a row do not add up."""
    promptness = failing()
    for number in range(10 * PROMPT_AGAIN):
        promptness.answered(QUICK_S, 110 + 2 * number)
        if number % 2:
            promptness.failed(111 + 2 * number)
    assert promptness.given_up(200)
