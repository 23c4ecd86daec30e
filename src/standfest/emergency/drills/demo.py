"""The demonstration: orders flow, the primary's postmaster is killed, and the checker says what became of them."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

from standfest.clients.attempts import RetryPolicy
from standfest.clients.orders import OrdersClient
from standfest.emergency.drills import faults, probe
from standfest.emergency.drills.checker import database
from standfest.emergency.drills.checker.check import check
from standfest.emergency.drills.checker.model import CheckerError, Verdict
from standfest.emergency.drills.file_orders import FileOrders
from standfest.emergency.drills.history import HistoryWriter
from standfest.emergency.drills.replay.plan import PlannedOrder
from standfest.emergency.drills.traffic.arrivals import poisson
from standfest.emergency.drills.traffic.generator import SMALL_ORDERS, OrderGenerator, make_products
from standfest.emergency.drills.traffic.prepare import prepare
from standfest.emergency.drills.traffic.sender import Mix, OpenLoopSender
from standfest.errors import StandfestError

CLIENT_DEADLINE_S = 30.0
"""How long the demo's client repeats one order before it counts as failed."""
FIRST_ORDER_TIMEOUT_S = 30.0
"""How long the first acknowledgement may take before nothing is killed at all."""
WRITES_BACK_TIMEOUT_S = 90.0
SHARE_BEFORE = 1 / 3
"""The part of the time in which orders flow undisturbed."""
AFTER_WRITES_S = 3.0
"""Orders flow for at least so long after database writes are back."""
AGREE_TIMEOUT_S = 15.0
"""How long database and status may differ on which server is primary."""
POLL_S = 0.1
PRODUCTS = 300


class DemoFailed(StandfestError):
    """The demonstration could not be carried out; it says nothing about orders."""


class Phase(Enum):
    """Where the demonstration is."""

    PREPARE = "preparing catalogue and stock"
    FLOW = "orders flow"
    OUTAGE = "orders flow on, database writes are away"
    BACK = "database writes are back, orders flow on"
    REST = "waiting for the last answers"
    CHECK = "checking every order in the database and through the API"


@dataclass(frozen=True)
class Cluster:
    """What the demonstration needs of a cluster that is up."""

    doors: Sequence[str]
    client: str
    """The name of the client that sends."""
    key: str
    """Its key; scopes orders:write, orders:read, catalogue:read, catalogue:write, stock:write."""
    conninfo: str
    """A libpq connection string for all PostgreSQL servers that may read all tables."""
    status: Callable[[], Awaitable[Mapping[str, Any]]]
    """The data of `standfest status --json`, fresh."""


@dataclass(frozen=True)
class Plan:
    """How the demonstration is carried out."""

    run: str
    """Tells this run's orders, keys and products from those of every other run."""
    seconds: float
    """How long orders flow; longer where database writes take longer to come back."""
    rate_per_s: float
    history: Path
    orders: Sequence[PlannedOrder] | None = None
    """The orders of a file; None: made-up ones."""


@dataclass(frozen=True)
class Failover:
    """The fault, and the proof that it happened."""

    killed: str
    """NODE/SERVICE (pid)."""
    new_primary: str
    """The node that is primary afterwards."""
    timeline_before: int
    timeline_after: int
    writes_back_s: float
    """From the kill to the first durable commit elsewhere."""


@dataclass(frozen=True)
class Result:
    """What the demonstration showed."""

    plan: Plan
    failover: Failover
    verdict: Verdict
    status: Mapping[str, Any]
    """The cluster afterwards."""


Tell = Callable[[Phase, Mapping[str, int]], None]
"""Called at every change of phase and every POLL_S: the phase, and the counts of the traffic so far."""


async def demonstrate(cluster: Cluster, plan: Plan, tell: Tell) -> Result:
    """Carries it out; raises DemoFailed, FaultFailed or another StandfestError where that was not possible."""
    policy = RetryPolicy(deadline_s=CLIENT_DEADLINE_S)
    mix = Mix(cancel_share=0.02, read_share=0.2, inflight_max=_inflight_max(plan))
    stage = _Stage(tell)
    with HistoryWriter(plan.history) as history:
        async with OrdersClient(cluster.doors, cluster.key, policy=policy, connections=mix.inflight_max) as client:
            generator = _generator(plan)
            await prepare(client, generator.products, history)
            history.write("note", what="opening", position=await asyncio.to_thread(_position, cluster.conninfo))
            sender = OpenLoopSender(client, generator, history, mix)
            failover = await _traffic_and_fault(cluster, plan, sender, history, stage)
    stage.enter(Phase.CHECK)
    verdict = await asyncio.to_thread(_verdict, cluster, plan.history)
    return Result(plan, failover, verdict, await cluster.status())


def _generator(plan: Plan) -> OrderGenerator:
    # Products of its own: no other run shares their stock, so that it must add up to the piece.
    if plan.orders is not None:
        return FileOrders(plan.orders, run=plan.run)
    products = make_products(PRODUCTS, seed=1, prefix=f"DEMO-{plan.run}", scarce_share=0.1)
    return OrderGenerator(products, seed=1, run=plan.run, traits=SMALL_ORDERS)


class _Stage:
    """Tells the phase and the traffic's counts."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.phase = Phase.PREPARE
        self.counts: Counter[str] = Counter()
        self.tell()

    def enter(self, phase: Phase) -> None:
        self.phase = phase
        self.tell()

    def tell(self) -> None:
        self._tell(self.phase, self.counts)


def _inflight_max(plan: Plan) -> int:
    # While writes are away nothing is answered: what arrives until the client's deadline must find room.
    return max(256, int(plan.rate_per_s * CLIENT_DEADLINE_S * 1.5))


async def _traffic_and_fault(
    cluster: Cluster, plan: Plan, sender: OpenLoopSender, history: HistoryWriter, stage: _Stage
) -> Failover:
    stage.counts = sender.counts
    arrivals = poisson(plan.rate_per_s, Random(plan.run))
    traffic = asyncio.create_task(sender.run(arrivals, client=cluster.client, rate_per_s=plan.rate_per_s))
    telling = asyncio.create_task(_tell_on(stage))
    try:
        failover = await _fault(cluster, plan, sender, history, stage)
        stage.enter(Phase.REST)
        sender.stop()
        await traffic
        return failover
    finally:
        sender.stop()
        telling.cancel()
        traffic.cancel()
        await asyncio.gather(telling, traffic, return_exceptions=True)


async def _tell_on(stage: _Stage) -> None:
    while True:
        await asyncio.sleep(POLL_S)
        stage.tell()


async def _fault(
    cluster: Cluster, plan: Plan, sender: OpenLoopSender, history: HistoryWriter, stage: _Stage
) -> Failover:
    began = time.monotonic()
    stage.enter(Phase.FLOW)
    await _until(lambda: sender.counts["ok"] > 0, FIRST_ORDER_TIMEOUT_S)
    await _sleep_until(began + plan.seconds * SHARE_BEFORE)
    gone, target = await _primary(cluster)
    history.write("note", what="fault", fault="SIGKILL of the primary's postmaster", target=str(target))
    killed_at = time.monotonic()
    faults.kill(target)
    stage.enter(Phase.OUTAGE)
    back = await probe.writes_back(cluster.conninfo, gone, WRITES_BACK_TIMEOUT_S)
    history.write("note", what="writes-back", after_s=round(back.at - killed_at, 3), address=back.primary.address)
    stage.enter(Phase.BACK)
    await _sleep_until(max(began + plan.seconds, back.at + AFTER_WRITES_S))
    return Failover(
        killed=str(target),
        new_primary=faults.node_at(await cluster.status(), back.primary.address),
        timeline_before=gone.timeline,
        timeline_after=back.primary.timeline,
        writes_back_s=back.at - killed_at,
    )


async def _primary(cluster: Cluster) -> tuple[probe.Primary, faults.Target]:
    """The primary as the database itself and as the cluster's status name it, once they agree."""
    deadline = time.monotonic() + AGREE_TIMEOUT_S
    while True:
        try:
            seen = await probe.primary_within(cluster.conninfo, probe.HANGS_AFTER_S)
            status = await cluster.status()
            target = faults.primary(status)
            if target.node == faults.node_at(status, seen.address):
                return seen, target
            reason = f"status names {target.node}, {seen.address} takes the writes"
        except faults.FaultFailed as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise DemoFailed(f"which server is primary stays unclear, so nothing was killed: {reason}")
        await asyncio.sleep(POLL_S)


async def _until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(
                f"no order was acknowledged within {timeout_s:.0f} s, so nothing was killed: see `standfest doctor`"
            )
        await asyncio.sleep(POLL_S)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def _position(conninfo: str) -> int:
    try:
        with database.connect(conninfo) as snapshot:
            return snapshot.position()
    except CheckerError as error:
        raise DemoFailed(str(error)) from error


def _verdict(cluster: Cluster, history: Path) -> Verdict:
    try:
        return check(history, cluster.conninfo, cluster.doors, cluster.key)
    except CheckerError as error:
        raise DemoFailed(f"the orders could not be checked: {error}") from error
