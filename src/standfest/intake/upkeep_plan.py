"""What the journal's etcd needs next, decided purely from what its members say.

An order leaves history behind when it is drained, and free pages when history is forgotten; the quota counts both. So
history is forgotten often (compaction, which disturbs nobody) and files are written anew where most of one is free
(defragmentation, during which a member serves nothing).

No member is disturbed while another one is away, with one exception: a journal that is too full to accept anything has
nothing to lose by it, and with a member that is away for good it would stay full for ever. Then, too, only one is
written anew at a time, and only while a quorum is healthy. For these seconds there may be no quorum: what waits stays
where it is, on disk of two members, and a question that is asked meanwhile is answered later or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from standfest.clients.etcd_maintenance import NO_SPACE, Alarm, MemberStatus

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """When something is done."""

    history_revisions: int = 5_000
    history_bytes: int = 32 * MIB
    """History is forgotten at the first of these: so many revisions, …"""
    history_s: float = 60.0
    """… so much more in use than after the last time, or so much later."""
    defragment_bytes: int = 64 * MIB
    """Smaller files are left as they are, …"""
    free_share: float = 0.5
    """… and those of which no more is free; unless there is an alarm for space."""
    disarm_share: float = 0.8
    """Of the quota; an alarm is taken back where every file is smaller."""
    size_max_bytes: int | None = None
    """With a larger file nothing is accepted; None where there is no such bound below the quota."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What was forgotten last, as far as this process knows."""

    revision: int
    in_use_bytes: int
    """Least that was in use since, in the member that uses most."""
    at: float
    """Monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Compact:
    """Forget history before `revision`."""

    revision: int


@dataclass(frozen=True, slots=True)
class MoveLeader:
    """Hand leadership from one member to another."""

    leader: MemberStatus
    to: MemberStatus
    why: str


@dataclass(frozen=True, slots=True)
class Defragment:
    """Write a member's file anew."""

    member: MemberStatus


@dataclass(frozen=True, slots=True)
class Disarm:
    """Take an alarm back, through the member at `address`."""

    address: str
    alarm: Alarm


Step = Compact | MoveLeader | Defragment | Disarm


@dataclass(frozen=True, slots=True)
class Seen:
    """What is decided from."""

    members: Sequence[MemberStatus]
    primary_host: str | None
    """Where the primary database runs; None where that is not known."""
    compacted: Compacted
    resting: Collection[str]
    """Addresses of members that were defragmented lately, or could not be."""
    quota_bytes: int | None
    now: float


def decide(seen: Seen, limits: Limits) -> list[Step]:
    """The steps to take now, in this order: at most one of them disturbs a member, and only while all are healthy, or
    nothing is accepted anyway.
    """
    steps: list[Step] = [*_compaction(seen, limits), *_disarming(seen, limits)]
    healthy = [member for member in seen.members if member.healthy]
    if len(healthy) == len(seen.members):
        steps += (_off_the_primary(seen) or _defragmentation(seen, limits))[:1]
    elif 2 * len(healthy) > len(seen.members) and accepts_nothing(healthy, limits):
        steps += _defragmentation(replace(seen, members=healthy), limits)[:1]
    return steps


def accepts_nothing(members: Sequence[MemberStatus], limits: Limits) -> bool:
    """Whether the journal is too full for another order: an alarm for space, or a file beyond the bound."""
    largest = max((member.db_size_bytes for member in members), default=0)
    return bool(full(members)) or (limits.size_max_bytes is not None and largest >= limits.size_max_bytes)


def full(members: Sequence[MemberStatus]) -> list[Alarm]:
    """The alarms for space."""
    alarms = {alarm for member in members for alarm in member.alarms if alarm.name == NO_SPACE}
    return sorted(alarms, key=lambda alarm: alarm.member_id)


def _compaction(seen: Seen, limits: Limits) -> list[Step]:
    """Nobody reads the past: what is current is kept, whatever its revision, and nothing else."""
    serving = [member for member in seen.members if member.healthy]
    if not serving:
        return []
    newest = max(member.revision for member in serving)
    in_use_bytes = max(member.db_in_use_bytes for member in serving)
    last = seen.compacted
    due = (
        newest - last.revision >= limits.history_revisions
        or in_use_bytes - last.in_use_bytes >= limits.history_bytes
        or seen.now - last.at >= limits.history_s
        or bool(full(seen.members))
    )
    return [Compact(newest)] if due and newest > last.revision else []


def _disarming(seen: Seen, limits: Limits) -> list[Step]:
    serving = [member for member in seen.members if member.healthy]
    if not serving or not all(_is_roomy(member, seen.quota_bytes, limits) for member in serving):
        return []
    return [Disarm(serving[0].address, alarm) for alarm in full(seen.members)]


def _off_the_primary(seen: Seen) -> list[Step]:
    """One lost node should not cost the primary database and the journal's leader at once."""
    leader = _leader(seen)
    if leader is None or leader.host != seen.primary_host:
        return []
    return _move(seen, leader, "the primary database is on its node")


def _defragmentation(seen: Seen, limits: Limits) -> list[Step]:
    """Followers first. The leader hands over before: while its file is written anew it can lead nobody."""
    wasteful = [member for member in seen.members if _is_wasteful(member, seen, limits)]
    leader = _leader(seen)
    if not wasteful or leader is None:
        return []
    followers = [member for member in wasteful if member is not leader]
    return [Defragment(followers[0])] if followers else _move(seen, leader, "its file is to be defragmented")


def _is_wasteful(member: MemberStatus, seen: Seen, limits: Limits) -> bool:
    if member.address in seen.resting:
        return False
    if full(seen.members):
        # What is in use is counted anew when something is written (etcd 3.4), and now nothing is: the size decides.
        return seen.quota_bytes is not None and not _is_roomy(member, seen.quota_bytes, limits)
    free_bytes = member.db_size_bytes - member.db_in_use_bytes
    return member.db_size_bytes > limits.defragment_bytes and free_bytes > limits.free_share * member.db_size_bytes


def _is_roomy(member: MemberStatus, quota_bytes: int | None, limits: Limits) -> bool:
    return quota_bytes is not None and member.db_size_bytes < limits.disarm_share * quota_bytes


def _leader(seen: Seen) -> MemberStatus | None:
    """The leader, where all agree on it."""
    leaders = {member.leader_id for member in seen.members}
    return next((member for member in seen.members if member.is_leader and leaders == {member.member_id}), None)


def _move(seen: Seen, leader: MemberStatus, why: str) -> list[Step]:
    """To the follower that is furthest, never to the primary's node, unless no other is left."""
    others = [member for member in seen.members if member is not leader]
    able = [member for member in others if member.host != seen.primary_host] or (others if len(others) == 1 else [])
    return [MoveLeader(leader, max(able, key=lambda member: member.revision), why)] if able else []
