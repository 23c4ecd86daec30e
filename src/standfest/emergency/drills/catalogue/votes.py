"""Drills that freeze Patroni on the primary and, around the vote that follows, somebody whose word counts there.

A standby that has told a candidate how far it is goes on acknowledging for the old primary until it is made to leave
it. What is stopped here is stopped in that moment."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Container, Mapping

from standfest.emergency.drills import faults
from standfest.emergency.drills.catalogue.leaders import lead
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.stage import Stage
from standfest.redundancy.postgres import TTL_S

VOTE_TIMEOUT_S = TTL_S + 40.0
"""How long after the freeze somebody may take to stand for election."""
AFTER_S = 3.0
"""How long the old primary lives on beside the new one."""
VOTE_PASSED_S = 0.05
"""After the vote: the candidate acts on it."""
_VOTED = b"Got response from "
_LOOK_S = 0.005


Moment = Callable[[Mapping[str, "_LogEnd"]], Awaitable[str]]
"""Waits for the moment in which somebody is to be stopped; says on which node."""


async def _frozen(stage: Stage, moment: Moment, service: str, seconds: float) -> Proof:
    """Patroni on the primary's node stands still until another is primary; for so long, from that moment on, so does a
    service of the node that `moment` says."""
    gone, target = await stage.primary()
    patroni = await stage.target(target.node, "patroni")
    nodes = [node.name for node in stage.cluster.topology.nodes]
    stoppable = {node: await stage.target(node, service) for node in nodes}
    logs = {node: _LogEnd(stage, node) for node in nodes if node != target.node}
    stage.begin("SIGSTOP of Patroni on the primary's node", target=str(patroni))
    with faults.frozen(patroni, stage.guard) as victims:
        taking_over = asyncio.create_task(stage.writes_back(gone, elsewhere=True))
        try:
            node = await moment(logs)
            stalled_after_s = time.monotonic() - (stage.began_at or 0.0)
            with faults.frozen(stoppable[node], stage.guard):
                await asyncio.sleep(seconds)
            back = await taking_over
            await asyncio.sleep(AFTER_S)
        finally:
            taking_over.cancel()
        if not faults.stands_still(victims):
            raise FaultFailed(f"{patroni} moves")
    return {
        "frozen": str(patroni),
        "stalled": {"what": str(stoppable[node]), "after_s": round(stalled_after_s, 3), "for_s": round(seconds, 2)},
        "primary_after": await stage.node_of(back.primary),
        "timeline_before": gone.timeline,
        "timeline_after": back.primary.timeline,
    }


async def _at(stage: Stage, after_s: float, among: Container[str], wanted: str) -> str:
    """Waits until so long after the freeze; the wanted node, or another one where that cannot be."""
    await asyncio.sleep(max(0.0, (stage.began_at or 0.0) + after_s - time.monotonic()))
    others = [node.name for node in stage.cluster.topology.nodes if node.name in among]
    return wanted if wanted in others else random.choice(others)


async def _after_a_vote(stage: Stage, logs: Mapping[str, "_LogEnd"]) -> str:
    """Waits until a standby has told a candidate how far it is, and a moment longer; its node."""
    deadline = time.monotonic() + VOTE_TIMEOUT_S
    while True:
        for log in logs.values():
            voters = log.answered() & set(logs)
            if voters:
                await asyncio.sleep(VOTE_PASSED_S)
                return voters.pop()
        if time.monotonic() > deadline:
            raise FaultFailed(f"nobody stood for election within {VOTE_TIMEOUT_S:.0f} s")
        await asyncio.sleep(_LOOK_S)


class _LogEnd:
    """What a node's Patroni logs from now on."""

    def __init__(self, stage: Stage, node: str) -> None:
        self._path = stage.cluster.node_home(stage.cluster.topology.node(node)).logs / "patroni.log"
        self._at = self._path.stat().st_size

    def answered(self) -> set[str]:
        """The members that have answered a candidate on this node since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            text = file.read()
        whole = text.rpartition(b"\n")[0]
        self._at += len(whole)
        lines = (line.partition(_VOTED)[2] for line in whole.splitlines() if _VOTED in line)
        return {line.split(maxsplit=1)[0].decode() for line in lines if line}


async def voter_stalls(stage: Stage) -> Proof:
    """The voter's Patroni stands still right after its vote."""
    return await _frozen(stage, lambda logs: _after_a_vote(stage, logs), "patroni", 3.0)


async def standby_stalls(stage: Stage) -> Proof:
    """A standby's Patroni stands still at a chance moment within 3 s of the end of the leader's key."""
    at_s = TTL_S + random.uniform(-3.0, 3.0)
    node = random.choice([node.name for node in stage.cluster.topology.nodes])
    return await _frozen(stage, lambda logs: _at(stage, at_s, logs, node), "patroni", random.uniform(0.5, 3.0))


async def etcd_leader_stalls(stage: Stage) -> Proof:
    """The leader of Patroni's etcd stands still at a chance moment before the end of the leader's key."""
    node = random.choice([node.name for node in stage.cluster.topology.nodes])
    await lead(stage, "etcd", node)
    at_s = random.uniform(0.0, TTL_S)
    return await _frozen(stage, lambda _: _at(stage, at_s, {node}, node), "etcd", random.uniform(5.0, 30.0))


DRILLS = (
    Drill(
        (53,),
        "patroni-frozen-and-voter-stalls",
        "Patroni on the primary's node stands still, and the voter's for 3 s right after its vote.",
        voter_stalls,
    ),
    Drill(
        (53,),
        "patroni-frozen-and-standby-stalls",
        "Patroni on the primary's node stands still, and a standby's for a moment around the end of the leader's key.",
        standby_stalls,
    ),
    Drill(
        (53,),
        "patroni-and-etcd-leader-frozen",
        "Patroni on the primary's node stands still, and the leader of Patroni's etcd for 5 to 30 s.",
        etcd_leader_stalls,
    ),
)
