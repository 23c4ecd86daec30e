"""Drills that freeze Patroni on the primary and, around the vote that follows, somebody whose word counts there.

A standby that has told a candidate how far it is goes on acknowledging for the old primary until it is made to leave
it. What is stopped here is stopped in that moment."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from standfest.emergency.drills import faults
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.stage import Stage
from standfest.redundancy.postgres import TTL_S

VOTE_TIMEOUT_S = TTL_S + 40.0
"""How long after the freeze somebody may take to stand for election."""
AFTER_S = 3.0
"""How long the old primary lives on beside the new one."""
_VOTED = b"Got response from "
_LOOK_S = 0.005


@dataclass(frozen=True)
class Stall:
    """Who stands still around the vote, besides Patroni on the primary's node."""

    seconds: float
    """How long."""
    delay_s: float
    """After the vote; where `at_vote` is false, after the leader's key was last renewed."""
    at_vote: bool = True


async def frozen_and_voter_stalls(stage: Stage, stall: Stall | None) -> Proof:
    """Patroni on the primary's node stands still until another is primary, and around the vote the voter's does."""
    gone, target = await stage.primary()
    patroni = await stage.target(target.node, "patroni")
    others = [node.name for node in stage.cluster.topology.nodes if node.name != target.node]
    watched = {node: await stage.target(node, "patroni") for node in others}
    logs = {node: _LogEnd(stage, node) for node in others}
    stage.begin("SIGSTOP of Patroni on the primary's node", target=str(patroni))
    stalled: dict[str, object] = {}

    async def stop(voter: str, seconds: float) -> None:
        with faults.frozen(watched[voter], stage.guard):
            stalled.update(voter=voter, after_s=round(time.monotonic() - (stage.began_at or 0.0), 3), seconds=seconds)
            await asyncio.sleep(seconds)

    with faults.frozen(patroni, stage.guard) as victims:
        taking_over = asyncio.create_task(stage.writes_back(gone, elsewhere=True))
        try:
            if stall is not None:
                voter = await _voter(stage, logs, stall)
                await stop(voter, stall.seconds)
            back = await taking_over
            await asyncio.sleep(AFTER_S)
        finally:
            taking_over.cancel()
        if not faults.stands_still(victims):
            raise FaultFailed(f"{patroni} moves")
    return {
        "frozen": str(patroni),
        "stalled": stalled,
        "primary_after": await stage.node_of(back.primary),
        "timeline_before": gone.timeline,
        "timeline_after": back.primary.timeline,
    }


async def _voter(stage: Stage, logs: dict[str, "_LogEnd"], stall: Stall) -> str:
    """Waits for the moment; the node whose Patroni is to stand still."""
    if not stall.at_vote:
        await asyncio.sleep(max(0.0, (stage.began_at or 0.0) + stall.delay_s - time.monotonic()))
        return random.choice(list(logs))
    deadline = time.monotonic() + VOTE_TIMEOUT_S
    while True:
        for log in logs.values():
            voters = [node for node in logs if node in log.answered()]
            if voters:
                await asyncio.sleep(stall.delay_s)
                return voters[0]
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


def aimed(delay_s: float = 0.05, seconds: float = 3.0) -> Callable[[Stage], Awaitable[Proof]]:
    """The voter's Patroni stands still right after its vote."""
    return lambda stage: frozen_and_voter_stalls(stage, Stall(seconds, delay_s))


def by_chance() -> Callable[[Stage], Awaitable[Proof]]:
    """A voter's Patroni stands still for 0.5 to 3 s, at a chance moment within 3 s of the end of the leader's key."""

    def fault(stage: Stage) -> Awaitable[Proof]:
        stall = Stall(random.uniform(0.5, 3.0), TTL_S + random.uniform(-3.0, 3.0), at_vote=False)
        return frozen_and_voter_stalls(stage, stall)

    return fault


async def alone(stage: Stage) -> Proof:
    """Nobody stands still but Patroni on the primary's node."""
    return await frozen_and_voter_stalls(stage, None)


DRILLS = (
    Drill(
        (53,),
        "patroni-frozen-and-voter-stalls",
        "Patroni on the primary's node stands still, and the voter's for 3 s right after its vote.",
        aimed(),
        rate_per_s=30,
    ),
)
