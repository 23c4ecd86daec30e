"""When a copy is given up and made anew, as data: what was seen in, what is done out."""

import itertools
from dataclasses import replace

import pytest

from standfest.cluster.mending import (
    CLONING,
    NOTHING,
    Do,
    Listed,
    MemberFacts,
    StandbyFacts,
    decide_member,
    decide_standby,
)
from standfest.cluster.observation import Role
from standfest.cluster.symptoms import LOOKS_MIN, PAUSE_FIRST_S, PAUSE_MAX_S, Symptoms, Watch

WIPED = MemberFacts(has_data=False, serves=False)
DAMAGED = MemberFacts(serves=False, ends=True, damage="walpb: crc mismatch")
REMOVED = MemberFacts(serves=False, listed=Listed.NO)
LEARNER = MemberFacts(serves=False, listed=Listed.LEARNER)
ADDED = MemberFacts(has_data=False, serves=False, listed=Listed.NEVER_STARTED)
UNLINKED = MemberFacts(has_data=False, serves=True)

BEHIND = StandbyFacts(
    node="n3",
    too_far_behind="requested WAL segment 000000010000000000000003 has already been removed",
    others={"n1": (Role.PRIMARY, "running"), "n2": (Role.STANDBY, "running")},
    streaming=frozenset({"n2"}),
)


@pytest.mark.parametrize(
    ("facts", "do"),
    [
        (MemberFacts(), Do.NOTHING),
        (WIPED, Do.JOIN),
        (DAMAGED, Do.JOIN),
        (REMOVED, Do.JOIN),
        (UNLINKED, Do.JOIN),
        (LEARNER, Do.FINISH),
        (ADDED, Do.FINISH),
        (replace(ADDED, has_data=True), Do.FINISH),
        # A member that is only slow, or ends for a reason that its data has nothing to do with, keeps its data.
        (MemberFacts(serves=False), Do.NOTHING),
        (MemberFacts(serves=False, ends=True), Do.NOTHING),
        (replace(DAMAGED, ends=False), Do.NOTHING),
        (replace(WIPED, listed=Listed.UNKNOWN), Do.WAIT),
    ],
)
def test_what_is_done_with_a_member(facts: MemberFacts, do: Do) -> None:
    """Only a member whose data is gone, damaged, or of no use any more takes its place anew."""
    assert decide_member(facts).do is do


@pytest.mark.parametrize("facts", [WIPED, DAMAGED, REMOVED, UNLINKED])
def test_a_member_waits_for_the_others(facts: MemberFacts) -> None:
    """As long as one of the others cannot commit nothing is given up, and what is waited for is said; held, nothing."""
    decision = decide_member(replace(facts, others_missing=("n1",)))
    assert (decision.do, decision.waits_for) == (Do.WAIT, "the members on n1 to be well")
    assert decide_member(replace(facts, held=True)) == NOTHING


def test_a_standby_that_is_too_far_behind_is_cloned() -> None:
    """With a primary and a third server that has a copy its own is given up, and the reason is what it said itself."""
    decision = decide_standby(BEHIND)
    assert (decision.do, decision.why, decision.from_primary) == (Do.CLONE, BEHIND.too_far_behind, False)


@pytest.mark.parametrize(
    "facts",
    [
        replace(BEHIND, too_far_behind=""),
        replace(BEHIND, held=True),
        replace(BEHIND, role=Role.PRIMARY),
        replace(BEHIND, role=Role.STANDBY),
        replace(BEHIND, role=None),
    ],
)
def test_what_may_be_a_good_copy_stays(facts: StandbyFacts) -> None:
    """A server that is held, that others rely on, or that does not say that it is behind for good is left alone."""
    assert decide_standby(facts) == NOTHING


@pytest.mark.parametrize(
    ("others", "waits_for"),
    [
        ({"n1": (Role.REPLICA, "running"), "n2": (Role.REPLICA, "running")}, "one other server to be primary"),
        ({"n1": (Role.PRIMARY, "running"), "n2": (Role.PRIMARY, "running")}, "one other server to be primary"),
        ({"n1": (Role.PRIMARY, ""), "n2": (Role.STANDBY, "running")}, "one other server to be primary"),
        ({"n1": (Role.PRIMARY, "running"), "n2": (Role.REPLICA, "")}, "another standby: this one has the only copy"),
        ({"n1": (Role.PRIMARY, "running"), "n2": (None, "")}, "another standby: this one has the only copy besides"),
        ({"n1": (Role.PRIMARY, "running"), "n2": (Role.REPLICA, "stopped")}, "another standby: this one has the only"),
        ({"n1": (Role.PRIMARY, "running"), "n2": (Role.REPLICA, CLONING)}, "n2, which is being cloned"),
    ],
)
def test_the_last_copy_is_never_given_up(others: dict[str, tuple[Role | None, str]], waits_for: str) -> None:
    """Without a primary elsewhere, or with no third copy that is complete, it waits and says for what."""
    decision = decide_standby(replace(BEHIND, others=others))
    assert decision.do is Do.WAIT
    assert decision.waits_for.startswith(waits_for)


def test_two_that_are_too_far_behind_go_one_after_the_other() -> None:
    """Where both standbys are too far behind, each may go while the other has its copy, old as it is, and is cloned
    from the primary: a clone of the other would be as far behind."""
    for state in ("running", "starting"):
        others = {"n1": (Role.PRIMARY, "running"), "n2": (Role.REPLICA, state)}
        decision = decide_standby(replace(BEHIND, others=others, streaming=frozenset()))
        assert (decision.do, decision.from_primary) == (Do.CLONE, True)
    others = {"n1": (Role.PRIMARY, "running"), "n2": (Role.STANDBY, "running"), "n4": (Role.REPLICA, "running")}
    assert decide_standby(replace(BEHIND, others=others)).from_primary  # Patroni may take either


def test_the_mender_is_started_less_and_less_often() -> None:
    """While a reason stays the mender is started again after pauses that double up to a bound, and at once for a new
    reason after all was well."""
    watch, reason, now, starts = Watch(), Symptoms(("journal has no data",)), 0.0, []
    while now < 200:
        if watch.due(reason, now):
            starts.append(now)
        now += 1.0
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses[:3] == [PAUSE_FIRST_S, PAUSE_FIRST_S * 2, PAUSE_FIRST_S * 4]
    assert set(pauses[3:]) == {PAUSE_MAX_S}
    assert not watch.due(Symptoms(), now)
    assert watch.due(reason, now + 1)


def test_a_standby_is_given_time() -> None:
    """A standby that is not streaming is a reason only when it was found so several times in a row."""
    watch = Watch()
    for number in range(3):
        found = [watch.due(Symptoms(not_streaming=True), float(number)) for _ in range(LOOKS_MIN - 1)]
        assert found == [False] * (LOOKS_MIN - 1)
        assert not watch.due(Symptoms(), float(number))
    assert [watch.due(Symptoms(not_streaming=True), 9.0) for _ in range(LOOKS_MIN)] == [False] * (LOOKS_MIN - 1) + [
        True
    ]
