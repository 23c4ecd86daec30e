"""Decisions of supervision: how a service is, and when one that was given up on starts again."""

import pytest

from standfest.clients.supervisor import ProgramState
from standfest.cluster.observation import State, service_state
from standfest.cluster.restarter import PAUSE_FIRST_S, PAUSE_MAX_S, STEADY_S, Restarts, given_up


@pytest.mark.parametrize(
    ("program", "has_process", "answers", "held", "supervisor_lives", "state"),
    [
        (ProgramState.RUNNING, True, True, False, True, State.RUNNING),
        (ProgramState.STARTING, True, True, False, True, State.RUNNING),
        (None, True, True, False, False, State.RUNNING),
        (ProgramState.RUNNING, True, False, False, True, State.UNRESPONSIVE),
        (ProgramState.STARTING, True, False, False, True, State.STARTING),
        (ProgramState.FATAL, False, False, False, True, State.FAILING),
        (ProgramState.BACKOFF, False, False, False, True, State.FAILING),
        (ProgramState.RUNNING, False, False, False, True, State.FAILING),
        (ProgramState.STOPPED, False, False, False, True, State.STOPPED),
        (ProgramState.STOPPED, False, False, True, True, State.STOPPED),
        (ProgramState.FATAL, False, False, True, True, State.STOPPED),
        (None, False, False, True, False, State.STOPPED),
        (None, False, False, False, False, State.LOST),
    ],
)
def test_service_state(
    program: ProgramState | None, has_process: bool, answers: bool, held: bool, supervisor_lives: bool, state: State
) -> None:
    """A service is what its process and its answer say; supervisor only explains why there is no process."""
    seen = service_state(
        program, has_process=has_process, answers=answers, held=held, supervisor_lives=supervisor_lives
    )
    assert seen is state


def test_pauses_grow_up_to_a_bound_and_never_end() -> None:
    """A program that fails for ever is started again for ever, with pauses that double up to the bound."""
    restarts, now, pauses = Restarts(), 0.0, []
    for _ in range(100):
        pauses.append(restarts.failed("api", now))
        now += pauses[-1]
        assert restarts.take_due(now) == ["api"]
    assert pauses[:4] == [PAUSE_FIRST_S, PAUSE_FIRST_S * 2, PAUSE_FIRST_S * 4, PAUSE_FIRST_S * 8]
    assert set(pauses[4:]) == {PAUSE_MAX_S}


def test_a_program_that_stayed_up_begins_anew() -> None:
    """After a steady run the next failure is followed by the first pause again; after a short one it is not."""
    restarts = Restarts()
    restarts.failed("api", 0.0)
    restarts.ran("api", 10.0)
    assert restarts.failed("api", 11.0) == PAUSE_FIRST_S * 2
    restarts.ran("api", 20.0)
    assert restarts.failed("api", 20.0 + STEADY_S) == PAUSE_FIRST_S


def test_what_failed_lately_is_remembered_for_a_while() -> None:
    """A program that was given up on counts as one that fails for two of the longest pauses, and no longer."""
    restarts = Restarts()
    restarts.failed("etcd", 100.0)
    assert restarts.failed_lately(100.0 + 2 * PAUSE_MAX_S - 1) == ("etcd",)
    assert restarts.failed_lately(100.0 + 2 * PAUSE_MAX_S) == ()


def test_each_program_waits_for_itself() -> None:
    """Programs are due at their own times, and each is answered once."""
    restarts = Restarts()
    restarts.failed("api", 0.0)
    restarts.failed("worker", 1.0)
    assert restarts.wait_s(0.5) == PAUSE_FIRST_S - 0.5
    assert restarts.take_due(PAUSE_FIRST_S) == ["api"]
    assert restarts.take_due(PAUSE_FIRST_S) == []
    assert restarts.take_due(PAUSE_FIRST_S + 1.0) == ["worker"]
    assert restarts.wait_s(100.0) is None


def test_what_was_given_up_before_is_found() -> None:
    """A restarter that starts late finds every FATAL program in supervisor's list, and no other."""
    known = [{"name": "etcd", "state": 20}, {"name": "api", "state": 200}, {"name": "worker", "state": 200}]
    assert given_up(known) == ["api", "worker"]
    assert given_up(None) == []
