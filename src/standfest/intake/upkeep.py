"""Upkeep of the journal's etcd: history forgotten, files kept small, the leader off the primary's node, alarms undone.

A loop in each worker. One of them works at a time (`Turn`), the others look on; that only saves work, and nothing here
needs a lock to be safe. To forget history again, to move a leader that has moved and to disarm what is disarmed change
nothing; and before a member is defragmented, each has just answered a read through the quorum, save a member that is
away from a journal that is full. Two workers that defragmented two members at the same moment would cost the journal
its quorum until the first is done, and no order.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn

import structlog

from standfest.clients.etcd_kv import EtcdError, EtcdStore
from standfest.clients.etcd_maintenance import EtcdMaintenance, MemberStatus
from standfest.intake.upkeep_plan import (
    Compact,
    Compacted,
    Defragment,
    Disarm,
    Limits,
    MoveLeader,
    Seen,
    Step,
    decide,
    full,
)
from standfest.intake.upkeep_turn import Turn
from standfest.telemetry.failpoints import reach
from standfest.telemetry.failures import facts_of

INTERVAL_S = 5.0
STATUS_S = 2.0
STEP_S = 5.0
DEFRAGMENT_S = 60.0
REST_S, REST_ALONE_S = 15.0, 60.0
"""How long a member is left in peace after a defragmentation, done or failed; and where the quorum needs it."""

Kind = Literal["compact", "move_leader", "defragment", "disarm"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """The journal's members as they were when they were last asked."""

    members: tuple[MemberStatus, ...] = ()

    @property
    def healthy(self) -> int:
        """How many members reach the quorum."""
        return sum(member.healthy for member in self.members)

    @property
    def leader(self) -> MemberStatus | None:
        """The member that leads, and is healthy."""
        return next((member for member in self.members if member.is_leader and member.healthy), None)

    @property
    def size_bytes(self) -> int:
        """The largest file."""
        return max((member.db_size_bytes for member in self.members), default=0)

    @property
    def in_use_bytes(self) -> int:
        """The most that is in use in one file, history included."""
        return max((member.db_in_use_bytes for member in self.members), default=0)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of the alarms that any member knows of."""
        return tuple(sorted({alarm.name for member in self.members for alarm in member.alarms}))


@dataclass(slots=True)
class Done:
    """What one worker's upkeep did since it started."""

    steps: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(_KINDS.values(), 0))
    failures: int = 0
    """Steps and rounds that failed."""


class JournalUpkeep:
    """One worker's upkeep."""

    def __init__(
        self,
        store: EtcdStore,
        maintenance: EtcdMaintenance,
        node: str,
        primary_host: Callable[[], str | None],
        limits: Limits | None = None,
    ) -> None:
        """
        Args:
            store: the journal.
            maintenance: of the same cluster.
            node: where this worker runs.
            primary_host: the address of the primary database's node without a port, None where it is not known.
            limits: when something is done.
        """
        self.health = Health()
        self.done = Done()
        self._store = store
        self._maintenance = maintenance
        self._primary_host = primary_host
        self._limits = limits or Limits()
        self._turn = Turn(store, f"{node}/{secrets.token_hex(8)}".encode())
        self._compacted = Compacted(revision=0, in_use_bytes=0, at=time.monotonic())
        self._rests_until: dict[str, float] = {}
        self._quota_bytes: int | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, and abandons what it waits for then. No failure of etcd ends it."""
        rounds = asyncio.create_task(self._rounds())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((rounds, stopping), return_when=asyncio.FIRST_COMPLETED)
            if rounds.done():
                rounds.result()
        finally:
            rounds.cancel()
            stopping.cancel()
            await asyncio.gather(rounds, stopping, return_exceptions=True)

    async def _rounds(self) -> NoReturn:
        while True:
            await self.round()
            await asyncio.sleep(INTERVAL_S)

    async def round(self) -> list[Step]:
        """Looks, decides and acts once; what was done, in this order. Failures are logged and counted."""
        self.health = Health(await self._maintenance.statuses(STATUS_S))
        try:
            if not self.health.healthy or not await self._turn.mine():
                return []
            await self._learn_quota()
        except EtcdError as error:
            self.done.failures += 1
            _log.warning("upkeep_round_failed", **facts_of(error))
            return []
        steps = decide(self._seen(), self._limits)
        return [step for step in steps if await self._try(step)]

    def _seen(self) -> Seen:
        now = time.monotonic()
        least = min(self._compacted.in_use_bytes, self.health.in_use_bytes)
        self._compacted = replace(self._compacted, in_use_bytes=least)
        return Seen(
            members=self.health.members,
            primary_host=self._primary_host(),
            compacted=self._compacted,
            resting={address for address, until in self._rests_until.items() if now < until},
            quota_bytes=self._quota_bytes,
            now=now,
        )

    async def _learn_quota(self) -> None:
        """Needed only to judge an alarm, and asked for each time: members can be started again with another one."""
        self._quota_bytes = None
        if full(self.health.members):
            asked = next(member for member in self.health.members if member.healthy)
            self._quota_bytes = await self._maintenance.quota_bytes(asked.address, STEP_S)

    async def _try(self, step: Step) -> bool:
        try:
            await self._do(step)
        except EtcdError as error:
            self.done.failures += 1
            _log.warning("upkeep_step_failed", step=_KINDS[type(step)], **facts_of(error))
            return False
        self.done.steps[_KINDS[type(step)]] += 1
        return True

    async def _do(self, step: Step) -> None:
        match step:
            case Compact(revision):
                await self._store.compact(revision, STEP_S)
                reach("upkeep.compacting")
                self._compacted = Compacted(revision, self.health.in_use_bytes, time.monotonic())
            case MoveLeader(leader, to, why):
                await self._maintenance.move_leader(leader.address, to.member_id, STEP_S)
                _log.info("journal_leader_moved", leader=leader.address, to=to.address, why=why)
            case Defragment(member):
                rest_s = REST_S if self.health.healthy == len(self.health.members) else REST_ALONE_S
                self._rests_until[member.address] = time.monotonic() + DEFRAGMENT_S + rest_s
                await self._maintenance.defragment(member.address, DEFRAGMENT_S)
                self._rests_until[member.address] = time.monotonic() + rest_s
                _log.info("journal_defragmented", member=member.address, size_bytes_before=member.db_size_bytes)
            case Disarm(address, alarm):
                await self._maintenance.disarm(address, alarm, STEP_S)
                _log.warning("journal_alarm_disarmed", alarm=alarm.name, member_id=alarm.member_id)


_KINDS: dict[type[Step], Kind] = {
    Compact: "compact",
    MoveLeader: "move_leader",
    Defragment: "defragment",
    Disarm: "disarm",
}
