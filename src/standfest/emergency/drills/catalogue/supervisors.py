"""Drills that break supervision: services run on, and `up` takes them over while orders are taken."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import IO

from standfest.cluster.observe import observe
from standfest.emergency.drills import faults, processes
from standfest.emergency.drills.drill import Drill, Goal, Proof
from standfest.emergency.drills.faults import FaultFailed, Target
from standfest.emergency.drills.stage import Stage

UP_TIMEOUT_S = 300.0
"""How long `up` may take, each time."""
TAKEN_TIMEOUT_S = 120.0
"""How long it may take until it has taken something over."""
SUPERVISOR = "supervisor"
GOAL = Goal(ack_ms_max=2000)


async def supervisors_die(stage: Stage) -> Proof:
    """The supervisors of all nodes are killed; `up` mends that."""
    return await _die(stage, [node.name for node in stage.cluster.topology.nodes])


async def supervisor_dies(stage: Stage) -> Proof:
    """The supervisor of the primary's node is killed; `up` mends that."""
    _, primary = await stage.primary()
    return await _die(stage, [primary.node])


async def up_is_interrupted(stage: Stage) -> Proof:
    """All supervisors are killed, `up` is killed as soon as it has taken something over, and is run again."""
    return await _die(stage, [node.name for node in stage.cluster.topology.nodes], interrupted=True)


async def _die(stage: Stage, nodes: Sequence[str], *, interrupted: bool = False) -> Proof:
    before = await _targets(stage)
    dead = [before[f"{node}/{SUPERVISOR}"] for node in nodes]
    left = {name: target for name, target in before.items() if target not in dead}
    async with _mended_by_up(stage):
        stage.begin("SIGKILL of supervisors", targets=[str(target) for target in dead])
        for target in dead:
            faults.kill(target)

        async def missing() -> str:
            ended = [name for name, target in left.items() if not processes.is_running(target.process)]
            return f"these did not run on: {', '.join(ended)}" if ended else ""

        await stage.hold(missing)
        if interrupted:
            await _interrupted_up(stage, left)
    return {"killed": [str(target) for target in dead], **await _taken_over(stage, before)}


async def supervisor_frozen(stage: Stage) -> Proof:
    """The supervisor of the primary's node stands still; `up` mends that."""
    _, primary = await stage.primary()
    before = await _targets(stage)
    target = before[f"{primary.node}/{SUPERVISOR}"]
    stage.begin("SIGSTOP of a supervisor", target=str(target))
    with faults.frozen_processes([target.process], stage.guard):

        async def missing() -> str:
            return "" if faults.stands_still([target.process]) else f"{target} moves"

        await stage.hold(missing)
        await _up(stage)
        if processes.is_running(target.process) and faults.stands_still([target.process]):
            raise FaultFailed(f"{target} stands still after `up`")
    return {"frozen": str(target), **await _taken_over(stage, before)}


async def _targets(stage: Stage) -> Mapping[str, Target]:
    """Every service with its process, by NODE/NAME."""
    status = await stage.status()
    names = [(node, entry["name"]) for node, entry in faults.services(status)]
    return {f"{node}/{name}": faults.target(status, node, name) for node, name in names}


@contextlib.asynccontextmanager
async def _mended_by_up(stage: Stage) -> AsyncIterator[None]:
    """Runs `up` at the end of the block, also where this process is killed."""
    announced = stage.guard.announce(stage.undoing("standfest", "up"))
    try:
        yield
    finally:
        await _up(stage)
        stage.guard.drop(announced)


async def _up(stage: Stage) -> None:
    """Runs `up`; FaultFailed where it does not end well."""
    async with _running_up(stage) as (up, said):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(up.wait(), UP_TIMEOUT_S)
        if up.returncode != 0:
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            ended = f"took more than {UP_TIMEOUT_S:.0f} s" if up.returncode is None else f"ended with {up.returncode}"
            raise FaultFailed(f"`standfest up` {ended}: {text}")


async def _interrupted_up(stage: Stage, before: Mapping[str, Target]) -> None:
    """Runs `up`, and kills it once a process of before has ended."""
    async with _running_up(stage) as (up, _):

        async def missing() -> str:
            if up.returncode is not None:
                raise FaultFailed(f"`standfest up` ended with {up.returncode} before it could be interrupted")
            taken = any(not processes.is_running(target.process) for target in before.values())
            return "" if taken else "every process is the one of before"

        await stage.until("`up` to take something over", missing, TAKEN_TIMEOUT_S)


@contextlib.asynccontextmanager
async def _running_up(stage: Stage) -> AsyncIterator[tuple[asyncio.subprocess.Process, IO[bytes]]]:
    """`up` as a process of its own, killed where the block leaves it running, and the file that it writes into.

    With a pipe instead it would end half-way, at the first line that nobody reads, where this process is killed.
    """
    with tempfile.TemporaryFile() as said:
        up = await asyncio.create_subprocess_exec(
            *stage.undoing("standfest", "up"), stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            yield up, said
        finally:
            if up.returncode is None:
                up.kill()
                await up.wait()


async def _taken_over(stage: Stage, before: Mapping[str, Target]) -> Proof:
    """Who looks after the services now. Rules: everything is supervised, and no database was restarted."""
    seen = await observe(stage.cluster)
    orphans = [f"{node.name}/{each.name}" for node in seen.nodes for each in node.services if each.unsupervised]
    now = await _targets(stage)
    restarted = [name for name in before if now[name].process != before[name].process]
    stage.rules["everything has a supervisor"] = not orphans
    stage.rules["no database was restarted"] = not any(name.endswith("/postgres") for name in restarted)
    supervisors = {name: target.process.pid for name, target in now.items() if target.service == SUPERVISOR}
    return {"held_s": stage.hold_s, "supervisors_now": supervisors, "restarted": restarted, "orphans": orphans}


DRILLS = (
    Drill(
        (54,),
        "supervisors-die",
        "The supervisors of all nodes are killed, and `up` takes over what runs on.",
        supervisors_die,
        hold_s=5,
        goal=GOAL,
    ),
    Drill(
        (54,),
        "supervisor-dies",
        "The supervisor of the primary's node is killed, and `up` takes over what runs on.",
        supervisor_dies,
        hold_s=5,
        goal=GOAL,
    ),
    Drill(
        (54,),
        "up-interrupted",
        "The supervisors of all nodes are killed, `up` is killed half-way, and run again.",
        up_is_interrupted,
        hold_s=5,
        goal=GOAL,
    ),
    Drill(
        (54,),
        "supervisor-frozen",
        "The supervisor of the primary's node stands still, and `up` mends it.",
        supervisor_frozen,
        hold_s=5,
        goal=GOAL,
    ),
)
