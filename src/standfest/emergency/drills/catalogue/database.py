"""Drills that break the database, and Patroni that looks after it."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import psycopg

from standfest.clients.asking import UnreachableError
from standfest.cluster.access import APP_ROLE
from standfest.emergency.drills import faults, probe, processes
from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.drill import Drill, Goal, Proof
from standfest.emergency.drills.faults import FaultFailed, Target
from standfest.emergency.drills.processes import Process
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, HOLD_POLL_S, STATUS_POLL_S, Stage
from standfest.redundancy.postgres import TTL_S

TAKEN_OVER_S_MAX = TTL_S + 10.0
"""After it another server is primary in place of one whose Patroni no longer says that it lives."""
LONG_HOLD_S = 2.0
"""A hold in which orders must have been taken; a shorter one may pass between two of them."""
SWITCHOVERS = 20
SWITCHOVER_TIMEOUT_S = 60.0
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND backend_type = 'client backend' ORDER BY pid"


async def primary_crash(stage: Stage) -> Proof:
    """The postmaster of the primary is killed; supervision and Patroni do what they do."""
    gone, target = await stage.primary()
    stage.begin("SIGKILL of the primary's postmaster", target=str(target))
    faults.kill(target)
    return await taken_over(stage, gone, target)


async def taken_over(stage: Stage, gone: probe.Primary, target: Target, *, elsewhere: bool = False) -> dict[str, Any]:
    """Waits until another life of a primary takes writes: the proof that the one before is over."""
    back = await stage.writes_back(gone, elsewhere=elsewhere)
    return {
        "killed": str(target),
        "new_primary": await stage.node_of(back.primary),
        "timeline_before": gone.timeline,
        "timeline_after": back.primary.timeline,
    }


async def backend_crash(stage: Stage) -> Proof:
    """One backend that serves the order plane is killed: PostgreSQL ends them all, and does not start again itself."""
    gone, target = await stage.primary()
    backend = await asyncio.to_thread(_backend, stage.superuser(), target)
    stage.begin("SIGKILL of a backend", target=str(target), backend=backend.pid)
    faults.kill_process(backend)
    return {"backend": backend.pid, **await taken_over(stage, gone, target)}


def _backend(conninfo: str, postmaster: Target) -> Process:
    try:
        with psycopg.connect(conninfo) as connection:
            pids = {row[0] for row in connection.execute(BACKENDS, (APP_ROLE,))}
    except psycopg.Error as error:
        raise FaultFailed(f"the order plane's backends could not be listed: {probe.short(error)}") from error
    for process in processes.descendants(postmaster.process):
        if process.pid in pids:
            return process
    raise FaultFailed(f"no backend of {postmaster} serves the order plane: there is none to kill")


async def patroni_dies(stage: Stage) -> Proof:
    """Patroni on the primary's node is killed; its PostgreSQL goes on until supervision has started it again."""
    _, target = await stage.primary()
    patroni = await stage.target(target.node, "patroni")
    stage.begin("SIGKILL of Patroni on the primary's node", target=str(patroni))
    faults.kill(patroni)
    after = await restarted(stage, patroni)
    now, _ = await stage.primary()
    stage.writes_back_s = None
    return {"killed": str(patroni), "started_again": after.process.pid, "primary_after": await stage.node_of(now)}


async def restarted(stage: Stage, before: Target) -> Target:
    """Waits until a service runs again as another process; that one."""
    found: list[Target] = []

    async def missing() -> str:
        process = stage.process_of(f"{before.node}/{before.service}")
        if process is None:
            return "it has no process"
        if process == before.process:
            return f"{before} still runs"
        found.append(replace(before, process=process))
        return ""

    await stage.until(
        f"{before.node}/{before.service} to be started again", missing, CONDITION_TIMEOUT_S, every_s=HOLD_POLL_S
    )
    return found[-1]


async def patroni_frozen(stage: Stage) -> Proof:
    """Patroni on the primary's node stands still: its PostgreSQL lives on, and another one takes over."""
    gone, target = await stage.primary()
    patroni = await stage.target(target.node, "patroni")
    stage.begin("SIGSTOP of Patroni on the primary's node", target=str(patroni))
    return await _frozen(stage, gone, patroni)


async def postgres_frozen(stage: Stage) -> Proof:
    """Every process of the primary's PostgreSQL stands still."""
    gone, target = await stage.primary()
    stage.begin("SIGSTOP of every process of the primary's PostgreSQL", target=str(target))
    return await _frozen(stage, gone, target)


async def _frozen(stage: Stage, gone: probe.Primary, target: Target) -> dict[str, Any]:
    with faults.frozen(target, stage.guard) as victims:
        taking_over = asyncio.create_task(stage.writes_back(gone, elsewhere=True))
        try:

            async def missing() -> str:
                return "" if faults.stands_still(victims) else f"{target} moves"

            await stage.hold(missing)
            # A short hold ends before anybody takes over: then what takes writes afterwards is the proof's concern.
            back = await taking_over if taking_over.done() else None
        finally:
            taking_over.cancel()
    if stage.hold_s > TAKEN_OVER_S_MAX:
        stage.rules["another primary took over"] = back is not None
    if back is None:
        back = await stage.writes_again()
    return {
        "frozen": str(target),
        "processes": len(victims),
        "held_s": stage.hold_s,
        "primary_after": await stage.node_of(back.primary),
        "timeline_before": gone.timeline,
        "timeline_after": back.primary.timeline,
    }


async def standby_dead(stage: Stage) -> Proof:
    """One standby is killed, and held down."""
    return await _standbys_dead(stage, 1)


async def both_standbys_dead(stage: Stage) -> Proof:
    """Both standbys are killed, and held down: no order can commit."""
    return await _standbys_dead(stage, 2)


async def _standbys_dead(stage: Stage, count: int) -> Proof:
    await stage.primary()
    standbys = faults.having_role(await stage.status(), "postgres", "standby")
    if len(standbys) < count:
        raise FaultFailed(f"{count} standbys were to be killed, {len(standbys)} protect the primary")
    dead = standbys[:count]
    stage.begin("SIGKILL of standbys", targets=[str(target) for target in dead])
    for target in dead:
        faults.kill(target)
    names = [f"{target.node}/postgres" for target in dead]
    # With one standby left the next commit counts, however long the other one takes to be held. Without any, one that
    # was started again before it is held could still let a commit through, and that would prove nothing.
    waiting = asyncio.create_task(stage.writes_again()) if count == 1 else None
    try:
        async with stage.held_service(*names):
            waiting = waiting or asyncio.create_task(stage.writes_again())
            span = Span(stage)
            await stage.hold(lambda: stage.stays_down(*names))
            span.end()
            blocked = not waiting.done()
        await waiting
    finally:
        if waiting is not None:
            waiting.cancel()
    if blocked != (count == 2):
        raise FaultFailed(f"with {count} standbys dead database writes were {'away' if blocked else 'there'}")
    placed = span.placed()
    if count == 2:
        stage.rules["every order by the journal"] = placed[201] == 0
        if stage.hold_s > LONG_HOLD_S:
            stage.rules["orders were taken while both standbys were dead"] = placed[202] > 0
    return {
        "killed": [str(target) for target in dead],
        "held_s": stage.hold_s,
        "writes_waited": blocked,
        "placed": dict(placed),
    }


async def switchovers(stage: Stage) -> Proof:
    """The primary's role is handed on in good order, again and again."""
    before, _ = await stage.primary()
    stage.begin("switchovers", count=SWITCHOVERS)
    longest_s, timelines = 0.0, [before.timeline]
    for _ in range(SWITCHOVERS):
        gone, began = await _hand_on(stage)
        back = await stage.writes_back(gone)
        longest_s = max(longest_s, back.at - began)
        timelines.append(back.primary.timeline)
    stage.writes_back_s = longest_s
    return {"switchovers": SWITCHOVERS, "timelines": timelines}


async def _hand_on(stage: Stage) -> tuple[probe.Primary, float]:
    """Hands the primary's role on: who had it, and when it was asked for (monotonic)."""
    gone, target = await stage.primary()
    patroni = stage.cluster.patroni(stage.cluster.topology.node(target.node))
    began = time.monotonic()

    async def missing() -> str:
        """Patroni refuses where the standby is behind just then, and has done nothing."""
        nonlocal began
        candidate = await _ready_standby(stage)
        began = time.monotonic()
        try:
            await patroni.switch_over(target.node, candidate, SWITCHOVER_TIMEOUT_S)
        except UnreachableError as error:
            return str(error)
        return ""

    await stage.until("Patroni to hand the role on", missing, SWITCHOVER_TIMEOUT_S, every_s=STATUS_POLL_S)
    return gone, began


async def _ready_standby(stage: Stage) -> str:
    """The node of a standby that may take over."""
    found: list[str] = []

    async def missing() -> str:
        nonlocal found
        found = [each.node for each in faults.having_role(await stage.status(), "postgres", "standby")]
        return "" if len(found) > 1 else f"{len(found)} standbys protect the primary"

    await stage.until("both standbys to protect the primary", missing, SWITCHOVER_TIMEOUT_S, every_s=STATUS_POLL_S)
    return found[0]


DRILLS = (
    Drill(
        (1,),
        "primary-crash",
        "The primary's postmaster is killed.",
        primary_crash,
        goal=Goal(ack_ms_max=500, writes_back_s_max=10),
        by_journal=True,
    ),
    Drill(
        (2,),
        "backend-crash",
        "One backend of the primary is killed, and PostgreSQL ends all of them.",
        backend_crash,
        goal=Goal(writes_back_s_max=10),
        by_journal=True,
    ),
    Drill((3,), "patroni-dies", "Patroni on the primary's node is killed.", patroni_dies),
    Drill(
        (4,),
        "patroni-frozen",
        "Patroni on the primary's node stands still for a minute, its PostgreSQL goes on.",
        patroni_frozen,
        hold_s=60,
    ),
    Drill(
        (5,),
        "postgres-frozen",
        "Every process of the primary's PostgreSQL stands still.",
        postgres_frozen,
        hold_s=35,
        goal=Goal(ack_ms_max=600),
        by_journal=True,
    ),
    Drill(
        (16,),
        "standby-dead",
        "One standby is killed and held down.",
        standby_dead,
        hold_s=10,
        goal=Goal(ack_ms_max=300),
    ),
    Drill(
        (17,),
        "both-standbys-dead",
        "Both standbys are killed and held down: every order goes through the journal.",
        both_standbys_dead,
        hold_s=10,
        goal=Goal(ack_ms_max=600),
        by_journal=True,
    ),
    Drill((46,), "switchovers", "The primary's role is handed on twenty times.", switchovers),
)
