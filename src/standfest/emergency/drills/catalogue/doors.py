"""Drills that break the doors."""

from standfest.cluster.inventory import find_service
from standfest.cluster.processes import of_program, processes_of
from standfest.cluster.renewal import reload_door
from standfest.cluster.waiting import Silent
from standfest.emergency.drills import faults, processes
from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.catalogue.database import restarted
from standfest.emergency.drills.drill import Drill, Goal, Proof
from standfest.emergency.drills.faults import FaultFailed, Target
from standfest.emergency.drills.stage import Stage

RELOADS = 20


async def door_dies(stage: Stage) -> Proof:
    """One door of two is killed and held down, then started again."""
    target = await _door(stage)
    stage.begin("SIGKILL of a door", target=str(target))
    faults.kill(target)
    async with stage.held_service(f"{target.node}/{target.service}"):
        await stage.hold(lambda: stage.stays_down(f"{target.node}/{target.service}"))
    after = await restarted(stage, target)
    return {"killed": str(target), "held_s": stage.hold_s, "started_again": after.process.pid}


async def door_freezes(stage: Stage) -> Proof:
    """All processes of one door of two stand still, and wake."""
    target = await _door(stage)
    home = stage.cluster.node_home(stage.cluster.topology.node(target.node))
    victims = [processes.identify(each.pid) for each in of_program(processes_of(home), target.service)]
    if target.process not in victims:
        raise FaultFailed(f"{target} is gone: there is nothing to freeze")
    stage.begin("SIGSTOP of a door", target=str(target))
    with faults.frozen_processes(victims, stage.guard):

        async def missing() -> str:
            return "" if faults.stands_still(victims) else f"{target} moves"

        await stage.hold(missing)
    return {"frozen": str(target), "processes": len(victims), "held_s": stage.hold_s}


async def door_reloads(stage: Stage) -> Proof:
    """A door takes up its configuration anew, twenty times: nobody who uses it notices."""
    target = await _door(stage)
    cluster, grounds = stage.cluster, stage.grounds
    node = cluster.topology.node(target.node)
    configuration = grounds.render(node)[cluster.node_home(node).config / "door.cfg"]
    service = find_service(cluster.topology, f"{target.node}/{target.service}")
    stage.begin("reloads of a door", target=str(target), count=RELOADS)
    span = Span(stage)
    workers = [target.process.pid]
    for _ in range(RELOADS):
        with cluster.home.locked():
            renewed = await reload_door(cluster, service, configuration, grounds.binaries, Silent())
        if renewed.pid is None or renewed.pid in workers:
            raise FaultFailed(f"{service.full_name} went on with process {renewed.pid} after a reload")
        workers.append(renewed.pid)
    span.end()
    stage.rules["no connection broke"] = span.broken() == 0
    stage.also["nobody had to repeat anything"] = span.repeated() == 0
    return {"reloads": RELOADS, "workers": workers, "repeated": span.repeated(), "broken": span.broken()}


async def _door(stage: Stage) -> Target:
    """The first door."""
    return await stage.target(stage.cluster.topology.doors[0].node, "door")


DRILLS = (
    Drill((38,), "door-dies", "One door is killed and held down.", door_dies, hold_s=5, goal=Goal(ack_ms_max=2000)),
    Drill((38,), "door-freezes", "One door stands still.", door_freezes, hold_s=8, goal=Goal(ack_ms_max=2000)),
    Drill((39,), "door-reloads", "A door is reloaded twenty times.", door_reloads, goal=Goal(ack_ms_max=300)),
)
