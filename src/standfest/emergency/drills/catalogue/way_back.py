"""The drill in which two nodes are lost: nothing may be acknowledged, and the way back loses nothing."""

import contextlib

from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.stage import Stage


async def two_nodes_lost(stage: Stage) -> Proof:
    """The primary's node and another one lose their power in one moment, and come back one after the other."""
    gone, primary = await stage.primary()
    lost = [primary.node, _second(stage, primary.node)]
    stage.begin("loss of two nodes", targets=lost)
    async with contextlib.AsyncExitStack() as held:
        # Frozen first: none of the two does anything without the other.
        with stage.frozen_node(lost[0]), stage.frozen_node(lost[1]):
            span = Span(stage)
            for name in lost:
                await held.enter_async_context(stage.held_node(name))
        await stage.hold(lambda: stage.stays_dark(*lost))
        span.end()
    back = await stage.writes_back(gone)
    stage.rules["nothing acknowledged while two nodes were lost"] = span.acknowledged() == 0
    return {
        "lost": lost,
        "held_s": stage.hold_s,
        "primary_after": await stage.node_of(back.primary),
        "acknowledged_meanwhile": span.acknowledged(),
    }


def _second(stage: Stage, first: str) -> str:
    """Another node, such that a door is left: that nothing is acknowledged must not be for want of a door."""
    topology = stage.cluster.topology
    others = [node.name for node in topology.nodes if node.name != first]
    return min(others, key=lambda name: topology.door_on(name) is not None)


DRILLS = (
    Drill(
        (50,),
        "two-nodes-lost",
        "Two nodes are lost at once, and come back.",
        two_nodes_lost,
        hold_s=8,
        failures_allowed=True,
    ),
)
