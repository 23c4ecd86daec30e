"""Drills in which the primary's node is lost as a whole, or stands still and wakes."""

import asyncio

from standfest.emergency.drills import faults
from standfest.emergency.drills.catalogue.database import taken_over
from standfest.emergency.drills.catalogue.leaders import Prepare, lead_elsewhere, lead_here
from standfest.emergency.drills.drill import Drill, Goal, Proof
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.stage import Stage

FREEZE_S = 30.0


async def _power_loss(stage: Stage, prepare: Prepare) -> Proof:
    gone, target = await stage.primary()
    leaders = await prepare(stage, target.node)
    what = "SIGKILL of all that runs on the primary's node"
    async with stage.held_node(target.node, lambda: stage.begin(what, target=str(target), **leaders)):
        proof = await taken_over(stage, gone, target)
        await stage.hold(lambda: stage.stays_dark(target.node))
    return {"lost": target.node, **leaders, **proof}


async def _freeze(stage: Stage, prepare: Prepare) -> Proof:
    gone, target = await stage.primary()
    leaders = await prepare(stage, target.node)
    what = "SIGSTOP of all that runs on the primary's node"
    with stage.frozen_node(target.node, lambda: stage.begin(what, target=str(target), **leaders)) as victims:
        taking_over = asyncio.create_task(taken_over(stage, gone, target, elsewhere=True))
        try:

            async def missing() -> str:
                return "" if faults.stands_still(victims) else f"{target.node} moves"

            await stage.hold(missing)
            if not taking_over.done():
                raise FaultFailed(f"nobody took over within {stage.hold_s:.0f} s of a standstill: hold it longer")
        except BaseException:
            taking_over.cancel()
            raise
    proof = await taking_over
    return {"frozen": target.node, "processes": len(victims), **leaders, **proof}


async def power_loss(stage: Stage) -> Proof:
    """The primary's node loses its power; the journal's leader is on another one."""
    return await _power_loss(stage, lead_elsewhere("journal"))


async def power_loss_with_journal(stage: Stage) -> Proof:
    """The same where the journal's leader is lost with it."""
    return await _power_loss(stage, lead_here("journal"))


async def power_loss_with_etcd(stage: Stage) -> Proof:
    """The same where the leader of Patroni's etcd is lost with it."""
    return await _power_loss(stage, lead_here("etcd"))


async def freeze(stage: Stage) -> Proof:
    """The primary's node stands still and wakes; the journal's leader is on another one."""
    return await _freeze(stage, lead_elsewhere("journal"))


async def freeze_with_journal(stage: Stage) -> Proof:
    """The same where the journal's leader stands still with it."""
    return await _freeze(stage, lead_here("journal"))


DRILLS = (
    Drill(
        (6,),
        "node-power-loss",
        "The primary's node loses its power, the journal's leader is elsewhere.",
        power_loss,
        hold_s=5,
        goal=Goal(ack_ms_max=1000, writes_back_s_max=30),
        by_journal=True,
    ),
    Drill(
        (6,),
        "node-power-loss-with-journal-leader",
        "The primary's node loses its power, and the journal's leader with it.",
        power_loss_with_journal,
        hold_s=5,
        goal=Goal(ack_ms_max=2000, writes_back_s_max=30),
        by_journal=True,
    ),
    Drill(
        (7,),
        "node-freezes",
        "The primary's node stands still and wakes, the journal's leader is elsewhere.",
        freeze,
        hold_s=FREEZE_S,
        goal=Goal(ack_ms_max=1000),
        by_journal=True,
    ),
    Drill(
        (7,),
        "node-freezes-with-journal-leader",
        "The primary's node stands still and wakes, and the journal's leader with it.",
        freeze_with_journal,
        hold_s=FREEZE_S,
        goal=Goal(ack_ms_max=2000),
        by_journal=True,
    ),
    Drill(
        (8,),
        "node-power-loss-with-etcd-leader",
        "The primary's node loses its power, and the leader of Patroni's etcd with it.",
        power_loss_with_etcd,
        hold_s=5,
        goal=Goal(ack_ms_max=2000, writes_back_s_max=30),
        by_journal=True,
    ),
)
