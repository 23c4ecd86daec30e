"""Carries out one drill: orders flow, the fault is put in and undone, and the checker says what became of them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from standfest.emergency.drills.acknowledged import answered
from standfest.emergency.drills.checker import database
from standfest.emergency.drills.checker.check import check
from standfest.emergency.drills.checker.model import CheckerError, Verdict
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.guard import Guard
from standfest.emergency.drills.history import HistoryWriter
from standfest.emergency.drills.running_traffic import RunningTraffic, traffic
from standfest.emergency.drills.stage import Grounds, Stage
from standfest.emergency.drills.traffic_process import Traffic
from standfest.errors import StandfestError

CLIENT_DEADLINE_S = 10.0
"""How long the drill's client repeats one order before it counts as failed. Shorter than a failover, so that a client
cannot outlast one by repeating: what is acknowledged meanwhile went by another way."""
AWAY_S_MIN = 2.0
"""Where no write came through for longer, orders must have gone by the journal: an attempt at the database is given
up after 1 s at most."""
FIRST_ORDER_TIMEOUT_S = 30.0
"""How long the first acknowledgement may take before any fault is put in."""
HEALTHY_TIMEOUT_S = 120.0
"""How long the cluster may take to be well, before a drill and after it."""
SHARE_BEFORE = 1 / 3
"""The part of the time in which orders flow undisturbed."""
BEFORE_S_MAX = 5.0
AFTER_S = 3.0
"""Orders flow for at least so long after the fault is undone."""
POLL_S = 0.2
STATUS_POLL_S = 0.5
"""Between two looks at the whole cluster, while no orders flow."""


class DrillFailed(StandfestError):
    """A drill could not be carried out; it says nothing about orders."""


class Phase(Enum):
    """Where a drill is."""

    WELL = "waiting until the cluster is well"
    READY = "making ready what the drill needs"
    PREPARE = "preparing catalogue and stock"
    FLOW = "orders flow"
    FAULT = "orders flow on under the fault"
    AFTER = "the fault is undone, orders flow on"
    REST = "waiting for the last answers"
    HEAL = "waiting until the cluster is well again"
    CHECK = "checking every order in the database and through the API"


@dataclass(frozen=True)
class Plan:
    """How a drill is carried out."""

    run: str
    """Tells this run's orders, keys and products from those of every other run."""
    seconds: float
    """How long orders flow at least; longer where the fault takes longer."""
    rate_per_s: float
    history: Path
    hold_s: float | None = None
    """How long the fault is held, where it is not the drill's own time."""
    file: Path | None = None
    """Send the orders of this file instead of made-up ones."""
    must_heal: bool = True
    """Wait until the cluster is well again, and count it where it is not."""


@dataclass(frozen=True)
class Health:
    """The cluster's verdict on itself."""

    up: bool
    can_lose_a_node: bool
    reasons: tuple[str, ...]
    waited_s: float
    """How long it took to be so."""

    @property
    def well(self) -> bool:
        """All is well."""
        return self.up and self.can_lose_a_node and not self.reasons


@dataclass(frozen=True)
class Result:
    """What a drill showed."""

    drill: Drill
    plan: Plan
    proof: Proof
    """Empty where the fault did not happen."""
    writes_back_s: float | None
    also: Mapping[str, Any]
    verdict: Verdict | None
    """None where the orders could not be checked."""
    in_fault: Mapping[str, Mapping[str, int]]
    """How reads and cancellations ended while the fault lasted, by HTTP status; empty where it did not happen."""
    health_before: Health
    health_after: Health
    errors: tuple[str, ...]
    """Why this is no drill that was passed, apart from what the verdict says."""

    @property
    def ok(self) -> bool:
        """The fault happened, all is well again, and no order was lost, doubled, altered or failed."""
        verdict = self.verdict
        if verdict is None or self.errors or not verdict.ok:
            return False
        return self.drill.failures_allowed or not self.failed

    @property
    def failed(self) -> int:
        """Submissions that ended without a definite answer, or with one that a good order does not deserve."""
        verdict = self.verdict
        return 0 if verdict is None else verdict.failed + verdict.unknown + verdict.refused + verdict.shed


Tell = Callable[[Phase, Mapping[str, int]], None]
"""Called at every change of phase and every POLL_S: the phase, and the counts of the traffic so far."""


async def run_drill(grounds: Grounds, guard: Guard, drill: Drill, plan: Plan, tell: Tell) -> Result:
    """Carries it out; DrillFailed or another StandfestError where it could not even begin."""
    teller = _Teller(tell)
    before = await _until_well(grounds, teller, Phase.WELL) if plan.must_heal else await _health(grounds, 0.0)
    if plan.must_heal and not before.well:
        raise DrillFailed(f"{drill.name} needs a cluster that is well: {'; '.join(before.reasons)}")
    hold_s = drill.hold_s if plan.hold_s is None else plan.hold_s
    proof: Proof = {}
    errors: list[str] = []
    with HistoryWriter(plan.history) as history:
        stage = Stage(grounds, guard, history, hold_s)
        try:
            async with contextlib.AsyncExitStack() as stack:
                if drill.ready is not None:
                    teller.enter(Phase.READY)
                    drill = await stack.enter_async_context(drill.ready(stage, drill))
                proof = await _traffic_and_fault(stage, drill, plan, teller)
        except StandfestError as error:
            errors.append(str(error))
    in_fault = {}
    if stage.began_at is not None and stage.undone_at is not None:
        in_fault = await asyncio.to_thread(answered, plan.history, stage.began_at, stage.undone_at)
    if plan.must_heal:
        after = await _until_well(grounds, teller, Phase.HEAL)
        if not after.well:
            errors.append(f"not well {after.waited_s:.0f} s after the fault: {'; '.join(after.reasons)}")
    verdict, complaint = await _verdict(grounds, plan, teller)
    if drill.by_journal and verdict is not None and (stage.writes_back_s or 0.0) > AWAY_S_MIN:
        stage.rules["orders went to the journal"] = verdict.accepted_by_journal > 0
    if not plan.must_heal:
        after = await _health(grounds, 0.0)
    return Result(
        drill=drill,
        plan=plan,
        proof=proof,
        writes_back_s=stage.writes_back_s,
        also={**stage.rules, **stage.also},
        verdict=verdict,
        in_fault=in_fault,
        health_before=before,
        health_after=after,
        errors=(*errors, *complaint, *(f"did not hold: {rule}" for rule, held in stage.rules.items() if not held)),
    )


class _Teller:
    """Tells the phase and the traffic's counts."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._phase = Phase.PREPARE
        self._running: RunningTraffic | None = None

    def enter(self, phase: Phase) -> None:
        self._phase = phase
        self.tell()

    def tell(self) -> None:
        self._tell(self._phase, {} if self._running is None else self._running.counts)

    @contextlib.asynccontextmanager
    async def of(self, running: RunningTraffic) -> AsyncIterator[None]:
        """Tells the counts of this traffic for as long as the block runs."""
        self._running = running
        telling = asyncio.create_task(self._tell_on())
        try:
            yield
        finally:
            telling.cancel()

    async def _tell_on(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self.tell()


async def _traffic_and_fault(stage: Stage, drill: Drill, plan: Plan, teller: _Teller) -> Proof:
    teller.enter(Phase.PREPARE)
    rate_per_s = drill.rate_per_s or plan.rate_per_s
    grounds = stage.grounds
    order = Traffic(
        doors=list(grounds.doors),
        client=grounds.client,
        key=grounds.key,
        history=str(plan.history),
        run=plan.run,
        rate_per_s=rate_per_s,
        deadline_s=CLIENT_DEADLINE_S,
        file=None if plan.file is None else str(plan.file),
    )
    async with traffic(order) as running, teller.of(running):
        position = await asyncio.to_thread(_position, grounds.conninfo)
        stage.history.write("note", what="opening", position=position)
        running.go()
        began = time.monotonic()
        teller.enter(Phase.FLOW)
        await running.first_acknowledged(FIRST_ORDER_TIMEOUT_S)
        await _sleep_until(began + min(BEFORE_S_MAX, plan.seconds * SHARE_BEFORE))
        teller.enter(Phase.FAULT)
        try:
            proof = await drill.fault(stage)
            stage.undone_at = time.monotonic()
            stage.history.write("note", what="fault-undone", proof=dict(proof))
            teller.enter(Phase.AFTER)
            await _sleep_until(max(began + plan.seconds, time.monotonic() + AFTER_S))
        except StandfestError:
            # What was sent is checked even so. An interrupt does not wait for the last answers.
            await running.finish()
            raise
        teller.enter(Phase.REST)
        await running.finish()
        return proof


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def _until_well(grounds: Grounds, teller: _Teller, phase: Phase) -> Health:
    """The cluster's health once all is well, or at the deadline."""
    teller.enter(phase)
    began = time.monotonic()
    while True:
        health = await _health(grounds, time.monotonic() - began)
        if health.well or health.waited_s > HEALTHY_TIMEOUT_S:
            return health
        await asyncio.sleep(STATUS_POLL_S)


async def _health(grounds: Grounds, waited_s: float) -> Health:
    verdict = (await grounds.status())["verdict"]
    return Health(verdict["up"], verdict["can_lose_a_node"], tuple(verdict["reasons"]), waited_s)


def _position(conninfo: str) -> int:
    try:
        with database.connect(conninfo) as snapshot:
            return snapshot.position()
    except CheckerError as error:
        raise DrillFailed(str(error)) from error


async def _verdict(grounds: Grounds, plan: Plan, teller: _Teller) -> tuple[Verdict | None, tuple[str, ...]]:
    teller.enter(Phase.CHECK)
    try:
        return await asyncio.to_thread(check, plan.history, grounds.conninfo, grounds.doors, grounds.key), ()
    except CheckerError as error:
        return None, (f"the orders could not be checked: {error}",)
