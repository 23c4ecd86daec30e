"""Drills that take most of the processor away: by busy loops on all cores, or on the only one that a node has left.

All nodes of a local cluster run on one machine, so nothing can be taken from one of them alone. What a drill can do is
to keep a node's processes on one core, and take the share of that: the node is left with the rest of one core at most,
and the others go to where they find a processor.

Half of what remains is offered: how much remains is measured first, in a closed loop under the same loops. Where
nothing remains, as the cluster's idle work alone takes what the loops leave, a few orders are offered and may fail:
nothing acknowledged may be lost, and every answer has to be right. Whether nothing remains is decided by the processor
time of the idle cluster, measured before the loops begin: a cluster that accepts nothing although there is a processor
left has collapsed, and the drill fails.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial

from standfest.cluster.observe import observe
from standfest.cluster.processes import processor_s
from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.door_figures import answered_5xx
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.running_traffic import traffic
from standfest.emergency.drills.stage import WELL_TIMEOUT_S, Stage
from standfest.emergency.drills.traffic_process import Traffic
from standfest.emergency.drills.undoing import give_cores
from standfest.emergency.loops import TOLERANCE, Taken, taken
from standfest.redundancy.verdict import decide

P99_S_GOAL = {0.5: 1.0, 0.75: 2.0, 0.9: 4.0}
"""By the share that is taken."""
OFFERED = 0.5
"""Of what remains."""
BACK_S_GOAL = 10.0
"""From the end of the loops until all is well."""
HOLD_S = 30.0
LOOPS_SPARE_S = 120.0
"""The loops run no longer than the hold and this."""
WARM_UP_S, MEASURED_S = 3.0, 12.0
FIRST_ORDER_TIMEOUT_S = 30.0
"""Seconds until the first order is acknowledged under the loops; after them the most that is reached is 0."""
IDLE_S = 10.0
"""Seconds in which the idle cluster's processor time is measured: as long as the longest of its regular works, a turn
of Patroni's loop, takes to come again."""
NOTHING_FROM = 1 - TOLERANCE
"""Share of the cores that idle work and the loops take together from which on nothing remains.

Less than 1, as the loops' share is only right within TOLERANCE, and as the kernel and the machine's other processes
take some of the cores that no process of the cluster shows. What is left above this share cannot be told from nothing.
"""
LEAST_PER_S = 1.0
"""Orders a second that are offered where none were acknowledged."""
ACCEPTS = "orders are acknowledged where a part of the processor remains"
"""The rule that a collapse breaks."""
RIGHT_ANSWERS = (200, 201, 202, 409, 429, 503)
"""Where nothing remains: cancelled, taken, declined, or refused at once."""
CLIENT_DEADLINE_S = 10.0
LOOK_S = 10.0
"""Between two looks at the status under the loops: each is work of its own."""

Where = Callable[[Stage], Awaitable[str | None]]
"""The node whose processes are starved, None: all of the machine."""


async def _everywhere(_: Stage) -> None:
    return None


async def _primary(stage: Stage) -> str:
    _, target = await stage.primary()
    return target.node


@contextlib.contextmanager
def _starved(stage: Stage, share: float, node: str | None) -> Iterator[Taken]:
    """Takes the share of all cores; of a node's one core, on which its processes are kept, where a node is named."""
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        if node is not None:
            home, core = stage.cluster.node_home(stage.cluster.topology.node(node)), cores[-1:]
            everywhere = ",".join(map(str, cores))
            stack.enter_context(stage.undone(partial(give_cores, home, cores), "cores", str(home.root), everywhere))
            give_cores(home, core)
            cores = core
        yield stack.enter_context(taken(share, stage.hold_s + LOOPS_SPARE_S, cores))


def nothing_remains(idle_share: float, taken_share: float) -> bool:
    """Whether idle work takes all that the loops leave; both are shares of the same cores, 0 to 1."""
    return idle_share + taken_share >= NOTHING_FROM


async def measured_idle_share(stage: Stage, node: str | None) -> float:
    """Share of the cores that the cluster takes while nobody asks anything of it; of one core, where a node is named
    that has one."""
    homes = [stage.cluster.node_home(each) for each in stage.cluster.topology.nodes if node in (None, each.name)]
    cores = len(os.sched_getaffinity(0)) if node is None else 1
    began, before_s = time.monotonic(), sum(map(processor_s, homes))
    await asyncio.sleep(IDLE_S)
    ended, after_s = time.monotonic(), sum(map(processor_s, homes))
    return max(0.0, after_s - before_s) / (cores * (ended - began))


@contextlib.asynccontextmanager
async def _offering_half(stage: Stage, drill: Drill, share: float, where: Where) -> AsyncIterator[Drill]:
    """The drill at half the rate that the cluster reaches under the loops."""
    grounds = stage.grounds
    given = Traffic(
        doors=list(grounds.doors),
        client=grounds.client,
        key=grounds.key,
        history=str(stage.history.path.with_suffix(".most.jsonl")),
        run=f"most-{secrets.token_hex(4)}",
        rate_per_s=None,
        deadline_s=CLIENT_DEADLINE_S,
    )
    node = await where(stage)
    idle_share = await measured_idle_share(stage, node)
    async with traffic(given) as running:
        with _starved(stage, share, node) as loops:
            running.go()
            most = 0.0
            if await running.acknowledged_within(FIRST_ORDER_TIMEOUT_S):
                await asyncio.sleep(WARM_UP_S)
                before, began = running.counts["ok"], time.monotonic()
                await asyncio.sleep(MEASURED_S)
                most = (running.counts["ok"] - before) / (time.monotonic() - began)
        await running.finish()
    ended = time.monotonic()
    await stage.until("the orders of the measurement to be drained", partial(_undrained, stage, ended), WELL_TIMEOUT_S)
    yield offered_under_loops(stage, drill, most, idle_share, share if loops.share is None else loops.share)


def offered_under_loops(stage: Stage, drill: Drill, most_per_s: float, idle_share: float, taken_share: float) -> Drill:
    """The drill with what is offered under the loops, and whether submissions may fail there."""
    nothing = not most_per_s and nothing_remains(idle_share, taken_share)
    stage.also |= {
        "most_per_s": round(most_per_s, 1),
        "idle_share": round(idle_share, 3),
        "nothing_remains": nothing,
    }
    if most_per_s:
        return replace(drill, rate_per_s=OFFERED * most_per_s)
    if not nothing:
        stage.rules[ACCEPTS] = False
    return replace(drill, rate_per_s=LEAST_PER_S, failures_allowed=nothing)


async def _undrained(stage: Stage, ended: float) -> str:
    """What is not well, or of what was accepted until `ended` (monotonic) is not in the database, as a reason."""
    seen = await observe(stage.cluster, with_orders=True)
    if reasons := decide(seen).reasons:
        return "; ".join(reasons)
    age_s = None if seen.entries is None else seen.entries.backlog.oldest_age_s
    return "" if age_s is not None and age_s < time.monotonic() - ended else "orders wait in the journal"


async def _processor_short(stage: Stage, share: float, where: Where) -> Proof:
    """Loops take the share while the fault is held."""
    node = await where(stage)
    answered = await answered_5xx(stage)
    ups: list[bool] = []

    async def look() -> str:
        ups.append((await stage.status())["verdict"]["up"])
        return ""

    with _starved(stage, share, node) as loops:
        stage.begin(f"{share:.0%} of the processor is taken", cores=loops.cores, node=node)
        span = Span(stage)
        await stage.hold(look, every_s=LOOK_S)
        span.end()
    ended = time.monotonic()
    await stage.until_well()
    back_s = time.monotonic() - ended
    p99_ms = span.p99_ms()
    doors_5xx = await answered_5xx(stage) - answered
    if not stage.also["nothing_remains"]:
        stage.rules["status says up"] = all(ups)
        stage.rules["no 5xx from the doors"] = doors_5xx == 0
        stage.rules["orders do not pile up"] = not span.piles_up()
    else:
        otherwise = span.answered_otherwise(RIGHT_ANSWERS)
        stage.also["answered otherwise"] = otherwise
        stage.rules[f"nothing remains, and answers are {', '.join(map(str, RIGHT_ANSWERS))} alone"] = not otherwise
    stage.also |= {
        "p99_ms": p99_ms,
        f"p99 within {P99_S_GOAL[share]:.0f} s": p99_ms is not None and p99_ms <= 1000 * P99_S_GOAL[share],
        "back_s": round(back_s, 1),
        f"back within {BACK_S_GOAL:.0f} s": back_s <= BACK_S_GOAL,
    }
    return {
        "wanted": share,
        "taken": round(loops.share or 0.0, 3),
        "cores": loops.cores,
        "node": node,
        "up": ups,
        "5xx": doors_5xx,
    }


def _drill(name: str, summary: str, share: float, where: Where = _everywhere) -> Drill:
    return Drill(
        (51,),
        name,
        summary,
        partial(_processor_short, share=share, where=where),
        hold_s=HOLD_S,
        ready=partial(_offering_half, share=share, where=where),
    )


DRILLS = (
    *(
        _drill(f"processor-short-{100 * share:.0f}", f"{share:.0%} of the processor is taken.", share)
        for share in P99_S_GOAL
    ),
    _drill(
        "processor-short-at-the-primary",
        "The primary's node has one core, of which 90% is taken.",
        0.9,
        _primary,
    ),
)
