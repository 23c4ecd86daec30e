"""Looking after an etcd cluster member by member: status, defragmentation, leadership, alarms.

https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/ (service Maintenance), https://etcd.io/docs/v3.4/op-guide/maintenance/
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

from standfest.clients.etcd_attempt import Answered, Gateway, NotSent, Outcome, Refused
from standfest.clients.etcd_errors import EtcdOutcomeUnknown, EtcdRejected, EtcdUnavailable, Refusal
from standfest.clients.etcd_wire import Range, encode_range

NO_SPACE = "NOSPACE"
"""The alarm of a member whose file has reached its quota: the cluster takes nothing but reads and deletions."""
ANSWER_S_MAX = 60.0
"""Longest deadline; a defragmentation may need it."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a member told the others of, until it is disarmed."""

    member_id: int
    name: str
    """NOSPACE or CORRUPT."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What one member says. One that does not answer is not healthy, and all its numbers are 0."""

    address: str
    """`host:port` for clients."""
    healthy: bool
    """Whether it answered a linearizable read: it reaches a quorum. Alarms do not make a member unhealthy."""
    is_leader: bool = False
    member_id: int = 0
    leader_id: int = 0
    """0 where it knows of no leader."""
    db_size_bytes: int = 0
    """Of its file, free pages included: what the quota counts."""
    db_in_use_bytes: int = 0
    revision: int = 0
    alarms: tuple[Alarm, ...] = ()
    """The whole cluster's, as this member knows them."""
    reason: str = ""
    """Why it is not healthy."""

    @property
    def host(self) -> str:
        """The address without the port."""
        return self.address.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class MemberSize:
    """What one member says of its file, whether or not it reaches a quorum."""

    db_size_bytes: int
    """Free pages included: what the quota counts."""
    no_space: bool
    """Whether it knows of a member that has reached its quota."""


class EtcdMaintenance:
    """The members of one etcd cluster, each asked by itself. Deadlines are in seconds from now."""

    def __init__(self, session: aiohttp.ClientSession, members: Sequence[str], tls: ssl.SSLContext) -> None:
        """Uses `session`, which stays the caller's, for `members` (`host:port`)."""
        self._gateway = Gateway(session, tls)
        self._members = tuple(members)

    async def statuses(self, deadline_s: float) -> tuple[MemberStatus, ...]:
        """What each member says, in the order given; never raises for what a member does."""
        return tuple(await asyncio.gather(*(self.member_status(each, deadline_s) for each in self._members)))

    async def sizes(self, deadline_s: float) -> tuple[MemberSize, ...]:
        """How large the files of those members are that answer; asks no quorum, so it costs little."""
        told = await asyncio.gather(*(self._status(each, deadline_s) for each in self._members))
        return tuple(
            MemberSize(each.db_size, any(alarm.name == NO_SPACE for alarm in read_alarms(each.errors)))
            for each in told
            if isinstance(each, _Status) and each.db_size
        )

    async def member_status(self, address: str, deadline_s: float) -> MemberStatus:
        """What one member says; never raises for what it does."""
        told, read = await asyncio.gather(
            self._status(address, deadline_s),
            self._attempt(address, "/v3/kv/range", _ANY_READ, deadline_s),
        )
        if isinstance(told, str):
            return MemberStatus(address, healthy=False, reason=told)
        return MemberStatus(
            address,
            healthy=isinstance(read, Answered),
            is_leader=told.leader != 0 and told.leader == told.header.member_id,
            member_id=told.header.member_id,
            leader_id=told.leader,
            db_size_bytes=told.db_size,
            db_in_use_bytes=told.db_size_in_use,
            revision=told.header.revision,
            alarms=read_alarms(told.errors),
            reason="" if isinstance(read, Answered) else read.reason,
        )

    async def defragment(self, address: str, deadline_s: float) -> None:
        """Write a member's file anew without its free pages. It serves nothing meanwhile; it needs space for both.

        Raises:
            EtcdError: it did not say that it is done. It goes on by itself all the same.
        """
        await self._do(address, "/v3/maintenance/defragment", {}, deadline_s)

    async def move_leader(self, leader_address: str, to_member_id: int, deadline_s: float) -> None:
        """Hand leadership from the member at `leader_address`, which has to lead, to another one.

        Raises:
            EtcdError: it did not say that it is done.
        """
        body = {"targetID": str(to_member_id)}
        await self._do(leader_address, "/v3/maintenance/transfer-leadership", body, deadline_s)

    async def disarm(self, address: str, alarm: Alarm, deadline_s: float) -> None:
        """Take an alarm back, through any member. Without space made before, the next write raises it again.

        Raises:
            EtcdError: the cluster did not say that it is done.
        """
        body = {"action": "DEACTIVATE", "memberID": str(alarm.member_id), "alarm": alarm.name}
        await self._do(address, "/v3/maintenance/alarm", body, deadline_s)

    async def quota_bytes(self, address: str, deadline_s: float) -> int:
        """The quota of a member's file, as its metrics tell.

        Raises:
            EtcdUnavailable: it does not say.
        """
        outcome = await self._attempt(address, "/metrics", b"", deadline_s)
        if not isinstance(outcome, Answered):
            raise EtcdUnavailable(f"/metrics: {outcome.reason}")
        if (found := _QUOTA.search(outcome.body)) is None:
            raise EtcdUnavailable(f"/metrics of {address} has no etcd_server_quota_backend_bytes")
        return int(float(found[1]))

    async def _status(self, address: str, deadline_s: float) -> _Status | str:
        """What a member says of itself, or why it does not."""
        status = await self._attempt(address, "/v3/maintenance/status", b"{}", deadline_s)
        if not isinstance(status, Answered):
            return status.reason
        try:
            return _STATUS.decode(status.body)
        except msgspec.MsgspecError as error:
            return f"{address} answered without a status: {error}"

    async def _do(self, address: str, path: str, body: dict[str, str], deadline_s: float) -> None:
        match await self._attempt(address, path, msgspec.json.encode(body), deadline_s):
            case Answered():
                return
            case NotSent(reason):
                raise EtcdUnavailable(f"{path}: {reason}")
            case Refused(Refusal.INVALID, reason):
                raise EtcdRejected(f"{path}: {reason}")
            case outcome:
                raise EtcdOutcomeUnknown(f"{path}: {outcome.reason}")

    async def _attempt(self, address: str, path: str, body: bytes, deadline_s: float) -> Outcome:
        return await self._gateway.attempt(address, path, body, min(deadline_s, ANSWER_S_MAX))


_ANY_READ = encode_range(Range(b"\0", count_only=True))
_QUOTA = re.compile(rb"^etcd_server_quota_backend_bytes ([0-9.e+]+)$", re.MULTILINE)
_ALARM = re.compile(r"memberID:(\d+)\s+alarm:([A-Z]+)")
"""How a status shows an alarm among its errors: protobuf's text form of AlarmMember."""


def read_alarms(errors: Sequence[str]) -> tuple[Alarm, ...]:
    """The alarms among the errors of a status."""
    found = (_ALARM.search(error) for error in errors)
    return tuple(Alarm(int(match[1]), match[2]) for match in found if match)


class _Header(msgspec.Struct, frozen=True):
    member_id: int = 0
    revision: int = 0


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    header: _Header = _Header()
    leader: int = 0
    db_size: int = 0
    db_size_in_use: int = 0
    errors: tuple[str, ...] = ()


_STATUS = msgspec.json.Decoder(_Status, strict=False)  # 64-bit integers come as strings
