"""What the journal's etcd needs next: facts in, exact steps out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from standfest.clients.etcd_maintenance import Alarm, MemberStatus
from standfest.intake.upkeep_plan import (
    MIB,
    Compact,
    Compacted,
    Defragment,
    Disarm,
    Limits,
    MoveLeader,
    Seen,
    Step,
    decide,
)

_FULL = Alarm(2, "NOSPACE")


def _member(number: int, **facts: Any) -> MemberStatus:
    healthy = MemberStatus(
        f"127.0.1.{number}:12389",
        healthy=True,
        is_leader=number == 1,
        member_id=number,
        leader_id=1,
        db_size_bytes=20 * MIB,
        db_in_use_bytes=15 * MIB,
        revision=1000,
    )
    return replace(healthy, **facts)


N1, N2, N3 = _member(1), _member(2), _member(3)
_WASTEFUL: dict[str, Any] = {"db_size_bytes": 100 * MIB, "db_in_use_bytes": 10 * MIB}
QUIET = Seen(
    members=(N1, N2, N3),
    primary_host="127.0.1.2",
    compacted=Compacted(revision=900, in_use_bytes=15 * MIB, at=0.0),
    resting=(),
    quota_bytes=None,
    now=10.0,
)


def _decide(**facts: Any) -> list[Step]:
    return decide(replace(QUIET, **facts), Limits())


def test_nothing_is_done_where_nothing_is_needed() -> None:
    """Little history, small files, the leader on another node than the primary: no step."""
    assert _decide() == []


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"members": (N1, N2, replace(N3, revision=5900))}, id="revisions"),
        pytest.param({"members": (N1, N2, replace(N3, revision=5900, db_in_use_bytes=50 * MIB))}, id="bytes"),
        pytest.param({"members": (N1, N2, replace(N3, revision=5900)), "now": 60.0}, id="time"),
        pytest.param({"members": (N1, N2, replace(N3, revision=5900, alarms=(_FULL,)))}, id="alarm"),
    ],
)
def test_history_is_forgotten_up_to_the_newest_revision(facts: dict[str, Any]) -> None:
    """After many revisions, many bytes, a minute, or at an alarm."""
    assert _decide(**facts) == [Compact(5900)]


def test_history_that_is_forgotten_is_not_forgotten_again() -> None:
    """However long ago that was, and even with an alarm."""
    idle = Compacted(revision=1000, in_use_bytes=0, at=0.0)
    assert _decide(compacted=idle, now=1000.0, members=(N1, replace(N2, alarms=(_FULL,)), N3)) == []


def test_the_leader_leaves_the_node_of_the_primary() -> None:
    """To the healthy follower that is furthest."""
    (step,) = _decide(primary_host="127.0.1.1", members=(N1, N2, replace(N3, revision=1001)))
    assert isinstance(step, MoveLeader)
    assert (step.leader, step.to.address) == (N1, N3.address)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"primary_host": None}, id="the primary is not known"),
        pytest.param({"members": (N1, N2, replace(N3, healthy=False))}, id="a member is away"),
        pytest.param({"members": (N1, N2, replace(N3, leader_id=3))}, id="they do not agree who leads"),
    ],
)
def test_the_leader_stays_while_not_all_is_well(facts: dict[str, Any]) -> None:
    """A move is for the next fault, never in the middle of one."""
    assert _decide(**{"primary_host": "127.0.1.1", **facts}) == []


def test_a_file_that_is_large_and_mostly_free_is_written_anew() -> None:
    """One member at a time, followers first."""
    members = tuple(replace(member, **_WASTEFUL) for member in (N1, N2, N3))
    assert _decide(members=members) == [Defragment(members[1])]
    assert _decide(members=members, resting={N2.address}) == [Defragment(members[2])]


def test_the_leader_hands_over_before_its_file_is_written_anew() -> None:
    """To a follower that is not on the primary's node; it is defragmented once it follows."""
    leader = replace(N1, **_WASTEFUL)
    (step,) = _decide(members=(leader, N2, N3))
    assert isinstance(step, MoveLeader)
    assert (step.leader, step.to) == (leader, N3)
    followers = tuple(replace(member, leader_id=3, is_leader=member is N3) for member in (leader, N2, N3))
    assert _decide(members=followers) == [Defragment(followers[0])]


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"db_size_bytes": 60 * MIB, "db_in_use_bytes": MIB}, id="small"),
        pytest.param({"db_size_bytes": 100 * MIB, "db_in_use_bytes": 60 * MIB}, id="mostly used"),
    ],
)
def test_other_files_are_left_as_they_are(facts: dict[str, Any]) -> None:
    """To write a file anew costs more than it frees."""
    done = Compacted(revision=1000, in_use_bytes=0, at=0.0)
    assert _decide(members=(N1, replace(N2, **facts), N3), compacted=done) == []


def test_no_file_is_written_anew_while_a_member_is_away() -> None:
    """Two members without the third are needed both."""
    assert _decide(members=(N1, replace(N2, **_WASTEFUL), replace(N3, healthy=False))) == []


def test_a_full_store_is_made_small_then_disarmed() -> None:
    """With an alarm small files count as well, whatever is said to be in use; it goes once each has room again."""
    done = Compacted(revision=1000, in_use_bytes=0, at=0.0)
    crowded = tuple(
        replace(member, alarms=(_FULL,), db_size_bytes=16 * MIB, db_in_use_bytes=16 * MIB) for member in (N1, N2, N3)
    )
    assert _decide(members=crowded, compacted=done, quota_bytes=16 * MIB) == [Defragment(crowded[1])]
    roomy = tuple(replace(member, db_size_bytes=MIB) for member in crowded)
    assert _decide(members=roomy, compacted=done, quota_bytes=16 * MIB) == [Disarm(N1.address, _FULL)]


def _crowded(*members: MemberStatus, **facts: Any) -> tuple[MemberStatus, ...]:
    full: dict[str, Any] = {"alarms": (_FULL,), "db_size_bytes": 16 * MIB, "db_in_use_bytes": 2 * MIB} | facts
    return tuple(replace(member, **full) if member.healthy else member for member in members)


_AWAY = MemberStatus("127.0.1.3:12389", healthy=False)
_DONE = Compacted(revision=1000, in_use_bytes=0, at=0.0)


def test_a_full_store_gets_free_with_a_member_away_for_good() -> None:
    """The healthy two are written anew one after the other, the leader after handing over; then it is disarmed."""
    members = _crowded(N1, N2, _AWAY)
    facts: dict[str, Any] = {"compacted": _DONE, "quota_bytes": 16 * MIB}
    assert _decide(members=members, **facts) == [Defragment(members[1])]
    half = (members[0], replace(members[1], db_size_bytes=MIB), _AWAY)
    (step,) = _decide(members=half, **facts)  # the only other member is on the primary's node
    assert isinstance(step, MoveLeader)
    assert (step.leader, step.to) == (half[0], half[1])
    moved = tuple(replace(member, leader_id=2, is_leader=member.member_id == 2) for member in half[:2])
    assert _decide(members=(*moved, _AWAY), **facts) == [Defragment(moved[0])]
    roomy = tuple(replace(member, db_size_bytes=MIB) for member in half[:2])
    assert _decide(members=(*roomy, _AWAY), **facts) == [Disarm(N1.address, _FULL)]


def test_a_journal_beyond_its_bound_gets_free_with_a_member_away() -> None:
    """Long before etcd's quota intake accepts nothing: files that are mostly free are written anew then, too."""
    members = _crowded(N1, N2, _AWAY, alarms=(), db_size_bytes=100 * MIB)
    seen = replace(QUIET, members=members, compacted=_DONE)
    assert decide(seen, Limits(size_max_bytes=100 * MIB)) == [Defragment(members[1])]
    assert decide(seen, Limits(size_max_bytes=101 * MIB)) == []


def test_a_single_member_that_is_left_is_not_disturbed() -> None:
    """Without a quorum nothing can be gained."""
    members = (*_crowded(N1), replace(N2, healthy=False), _AWAY)
    assert _decide(members=members, compacted=_DONE, quota_bytes=16 * MIB) == []


def test_an_alarm_for_corruption_is_never_taken_back() -> None:
    """A person has to look."""
    corrupt = tuple(replace(member, alarms=(Alarm(3, "CORRUPT"),)) for member in (N1, N2, N3))
    assert _decide(members=corrupt, quota_bytes=1024 * MIB) == []


def test_without_any_member_nothing_is_decided() -> None:
    """All away: no step, no error."""
    assert _decide(members=tuple(replace(member, healthy=False) for member in (N1, N2, N3)), now=1000.0) == []
