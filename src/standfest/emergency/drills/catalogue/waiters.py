"""Drills on commits that wait for a standby which does not come: none of them may be acknowledged."""

import contextlib

from standfest.emergency.drills import faults
from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.replication import CANCEL, TERMINATE, end_waiting, standbys_deaf, until_waiting
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, POLL_S, STATUS_POLL_S, Stage

SIGNALLED_MIN = 3
"""So many waiting commits are ended at least."""

NO_CONFIRMATION = "no 201 while no standby received anything"


async def waiters_cancelled(stage: Stage) -> Proof:
    """Commits that wait for a standby are cancelled: PostgreSQL then says yes, and the order plane must not."""
    return await _ended(stage, "pg_cancel_backend", CANCEL)


async def waiters_terminated(stage: Stage) -> Proof:
    """Back ends whose commit waits for a standby are terminated: their rows stay, on one node."""
    return await _ended(stage, "pg_terminate_backend", TERMINATE)


async def _ended(stage: Stage, function: str, how: str) -> Proof:
    _, primary = await stage.primary()
    signalled = 0

    async def too_few() -> str:
        nonlocal signalled
        signalled += await end_waiting(stage, how)
        return "" if signalled >= SIGNALLED_MIN else f"{signalled} of {SIGNALLED_MIN} commits that wait were ended"

    stage.begin(f"{function} on commits that wait for a standby", primary=str(primary))
    async with standbys_deaf(stage) as receivers:
        span = Span(stage)
        waiting = await until_waiting(stage)
        await stage.until("commits that wait to be ended", too_few, CONDITION_TIMEOUT_S)

        async def moves() -> str:
            await too_few()
            return "" if faults.stands_still(receivers) else "a standby receives"

        await stage.hold(moves, every_s=POLL_S)
        span.end()
    await stage.writes_again()
    stage.rules[NO_CONFIRMATION] = span.placed()[201] == 0
    return {"primary": str(primary), "waiting": waiting, function: signalled, "placed": dict(span.placed())}


async def crash_with_waiters(stage: Stage) -> Proof:
    """The primary crashes with commits that wait, and comes back with their rows while no standby is there."""
    gone, primary = await stage.primary()
    names = [f"{node.name}/postgres" for node in stage.cluster.topology.nodes if node.name != primary.node]
    stage.begin("both standbys are held down, and the primary crashes with waiting commits", primary=str(primary))
    async with contextlib.AsyncExitStack() as held:
        async with standbys_deaf(stage):
            waiting = await until_waiting(stage)
            # Killed while they stand still: nothing of what waits reaches them in their last moment.
            await held.enter_async_context(stage.held_service(*names))
        span = Span(stage)
        faults.kill(primary)

        async def missing() -> str:
            """Nobody follows it, so it is promoted no more before one of the others does."""
            again = stage.process_of(f"{primary.node}/postgres")
            return "" if again not in (None, primary.process) else "its PostgreSQL does not run again"

        await stage.until("the primary's server to be back, alone", missing, CONDITION_TIMEOUT_S, every_s=STATUS_POLL_S)
        await stage.hold(lambda: stage.stays_down(*names))
        span.end()
    back = await stage.writes_back(gone)
    if await stage.node_of(back.primary) != primary.node:
        raise FaultFailed(f"another node took over from {primary}: nothing showed rows that only it had")
    stage.rules[NO_CONFIRMATION] = span.placed()[201] == 0
    return {"killed": str(primary), "waiting": waiting, "placed": dict(span.placed())}


DRILLS = (
    Drill(
        (42,),
        "waiters-cancelled",
        "Commits that wait for a standby are cancelled.",
        waiters_cancelled,
        hold_s=3,
    ),
    Drill(
        (43,),
        "waiters-terminated",
        "Back ends whose commit waits for a standby are terminated.",
        waiters_terminated,
        hold_s=3,
    ),
    Drill(
        (44,),
        "crash-with-waiters",
        "The primary crashes with waiting commits and comes back alone, with their rows.",
        crash_with_waiters,
        hold_s=5,
    ),
)
