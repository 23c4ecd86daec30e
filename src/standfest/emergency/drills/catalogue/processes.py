"""Drills that break API processes."""

import asyncio
import contextlib
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from standfest.clients.asking import UnreachableError
from standfest.cluster.access import APP_ROLE, DATABASE
from standfest.cluster.inventory import find_service
from standfest.cluster.renewal import restart_service
from standfest.cluster.waiting import Silent
from standfest.emergency.drills import faults, probe, processes
from standfest.emergency.drills.acknowledged import Span
from standfest.emergency.drills.catalogue.database import restarted
from standfest.emergency.drills.door_figures import answered_5xx, server_states
from standfest.emergency.drills.drill import Drill, Goal, Proof
from standfest.emergency.drills.fail_points import armed, died
from standfest.emergency.drills.faults import FaultFailed, Target
from standfest.emergency.drills.processes import Process
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, RELEASE_TIMEOUT_S, Stage
from standfest.emergency.drills.undoing import give_files_back

OUT_OF_ROTATION_S_MAX = 2.0
"""Within it no door may send anything more to a frozen API process."""
OUT_OF_ROTATION_S_GOAL = 1.0
POLL_S = 0.1
CONNECT_TIMEOUT_S = 0.5
STRANGERS_A_LOOK = 2
EXHAUSTED_WITHIN_S = 3.0
"""What a process gives back is taken again: it stops to accept for a second each time that it has no file left."""
FILES_SPARE = 2
"""Files that a process may still open: enough to go on, too few for a connection a request."""


async def api_dies_unanswered(stage: Stage) -> Proof:
    """An API process dies after the commit of an order and before its answer: the repeat finds the same order."""
    target = await stage.target(_nodes(stage)[0], "api")
    stage.begin("SIGKILL of an API process between commit and answer", target=str(target))
    with armed(stage, target, "intake.direct-committed"):
        await died(target)
    after = await restarted(stage, target)
    return {"killed": str(target), "at": "intake.direct-committed", "started_again": after.process.pid}


async def api_frozen(stage: Stage) -> Proof:
    """An API process stands still: the doors leave it, and what they had given to it goes to another one."""
    target = await stage.target(_nodes(stage)[0], "api")
    stage.begin("SIGSTOP of an API process", target=str(target))
    began = time.monotonic()
    with faults.frozen(target, stage.guard) as victims:
        left: dict[str, float] = {}

        async def missing() -> str:
            for door, state in (await server_states(stage, target.node, target.service)).items():
                if state.startswith("DOWN"):
                    left.setdefault(door, time.monotonic() - began)
            waiting = [door.name for door in stage.cluster.topology.doors if door.name not in left]
            return f"{', '.join(waiting)} still has it in rotation" if waiting else ""

        await stage.until(f"the doors to leave {target}", missing, CONDITION_TIMEOUT_S)

        async def moves() -> str:
            return "" if faults.stands_still(victims) else f"{target} moves"

        await stage.hold(moves)
    stage.rules["out of rotation within 2 s"] = max(left.values()) <= OUT_OF_ROTATION_S_MAX
    stage.also["out of rotation within 1 s"] = max(left.values()) <= OUT_OF_ROTATION_S_GOAL
    return {"frozen": str(target), "left_after_s": {door: round(after_s, 2) for door, after_s in left.items()}}


async def descriptors_exhausted(stage: Stage) -> Proof:
    """An API process may open no more files than it has, and strangers' idle connections take what becomes free."""
    target = await stage.target(_nodes(stage)[0], "api")
    service = find_service(stage.cluster.topology, f"{target.node}/{target.service}")
    answered = await answered_5xx(stage)
    stage.begin("an API process has no file descriptors left", target=str(target))
    told: Counter[str] = Counter()
    full_at: float | None = None
    began = time.monotonic()
    with _files_limited(stage, target.process) as limit, contextlib.ExitStack() as strangers:

        async def missing() -> str:
            nonlocal full_at
            if not processes.is_running(target.process):
                return f"{target} has ended"
            for _ in range(max(STRANGERS_A_LOOK, limit - _open_files(target.process))):
                await asyncio.to_thread(_connect_idle, service.address, strangers)
            told[await _asked(stage, service.address)] += 1
            open_files, now = _open_files(target.process), time.monotonic()
            if open_files >= limit:
                full_at = now
            lacks_none = now - (full_at or began) > EXHAUSTED_WITHIN_S
            return f"{target} has {open_files} files open and may have {limit}" if lacks_none else ""

        await stage.hold(missing, every_s=POLL_S)
    if full_at is None:
        raise FaultFailed(f"{target} never had all {limit} files open that it may have: hold it longer")
    if not told["429"] + told["nothing"]:
        raise FaultFailed(f"{target} answered every stranger ({dict(told)}): it never lacked files")
    stage.rules["429, not 5xx"] = not any(word.startswith("5") for word in told)
    stage.rules["no 5xx from the doors"] = await answered_5xx(stage) == answered
    return {"limited": str(target), "files_max": limit, "strangers_were_told": dict(told), "held_s": stage.hold_s}


async def _asked(stage: Stage, address: str) -> str:
    """What a stranger is told who comes on top: a status, or nothing."""
    try:
        return str((await stage.cluster.asker.ask("GET", f"http://{address}/livez", timeout_s=1.0)).status)
    except UnreachableError:
        return "nothing"


def _connect_idle(address: str, kept: contextlib.ExitStack) -> None:
    host, _, port = address.rpartition(":")
    # One that is refused or broken off is as good: then there is no file left.
    with contextlib.suppress(OSError):
        kept.enter_context(socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S))


@contextlib.contextmanager
def _files_limited(stage: Stage, process: Process) -> Iterator[int]:
    """Lowers how many files a running process may have open to little more than it has; the limit."""
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    limit = _open_files(process) + FILES_SPARE
    with stage.undone(lambda: give_files_back(process, before), "files", str(process), *map(str, before)):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        yield limit


def _open_files(process: Process) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


async def connections_exhausted(stage: Stage) -> Proof:
    """Somebody takes all connections to the database that the order plane's role may have."""
    await stage.primary()
    limit = stage.cluster.topology.postgres.app_connections
    stage.begin("every database connection of the order plane's role is taken", connections=limit)
    taken: list[psycopg.Connection[tuple[object, ...]]] = []
    span = Span(stage)
    try:

        async def missing() -> str:
            await asyncio.to_thread(_take_connections, stage, limit, taken)
            return "" if len(taken) >= limit - 1 else f"{len(taken)} of {limit} connections are taken"

        await stage.until("the connections of the order plane's role", missing, CONDITION_TIMEOUT_S)

        async def lost() -> str:
            return "" if len(taken) >= limit - 1 else "they were let go"

        await stage.hold(lost)
    finally:
        for connection in taken:
            connection.close()
    # Reads are refused with 503 meanwhile, as nobody can say what the database has; orders go to the journal.
    stage.rules["orders went to the journal"] = span.placed()[202] > 0
    return {"taken": len(taken), "of": limit, "held_s": stage.hold_s}


def _take_connections(stage: Stage, limit: int, taken: list[psycopg.Connection[tuple[object, ...]]]) -> None:
    """Ends what the order plane has open, and takes what becomes free, up to the limit or until it is refused."""
    password = stage.cluster.secrets.password("postgres-app")
    mine = make_conninfo(stage.superuser(DATABASE), user=APP_ROLE, password=password)
    own = [connection.info.backend_pid for connection in taken]
    try:
        with psycopg.connect(stage.superuser(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND NOT pid = ANY(%s)"
                " AND wait_event IS DISTINCT FROM 'SyncRep'",
                (APP_ROLE, own),
            )
        while len(taken) < limit:
            taken.append(psycopg.connect(mine, autocommit=True))
    except psycopg.OperationalError as error:
        if len(taken) == 0:
            raise FaultFailed(f"no connection of {APP_ROLE} could be taken: {probe.short(error)}") from error


async def api_restarts_without_standbys(stage: Stage) -> Proof:
    """Every API process is restarted, one after the other, while both standbys are held down."""
    _, target = await stage.primary()
    standbys = [node for node in _nodes(stage) if node != target.node]
    watch = _Watch(stage)
    stage.begin("both standbys are held down, and every API process is restarted", primary=str(target))
    async with stage.held_service(*(f"{node}/postgres" for node in standbys)):
        span = Span(stage)
        watching = asyncio.create_task(watch.run())
        try:
            pids = [await _restart(stage, await stage.target(node, "api"), watch) for node in _nodes(stage)]
        finally:
            watching.cancel()
        span.end()
    await stage.writes_again()
    stage.rules["intake never below two processes"] = watch.ready_min >= len(pids) - 1
    stage.rules["no 201 while no standby was there"] = span.placed()[201] == 0
    return {"restarted": pids, "ready_min": watch.ready_min, "looks": watch.looks, "standbys_held": standbys}


async def _restart(stage: Stage, target: Target, watch: "_Watch") -> list[int]:
    """SIGTERM, a new process, and traffic wanted by all again; pids before and after."""
    service = find_service(stage.cluster.topology, f"{target.node}/{target.service}")
    with stage.cluster.home.locked():
        renewed = await restart_service(stage.cluster, service, RELEASE_TIMEOUT_S, Silent())
    if renewed.pid is None or renewed.pid == target.process.pid:
        raise FaultFailed(f"{target} was not restarted")

    async def missing() -> str:
        ready = await watch.ready()
        return "" if ready == len(_nodes(stage)) else f"{ready} API processes want requests"

    await stage.until("every API process to want requests", missing, CONDITION_TIMEOUT_S)
    return [target.process.pid, renewed.pid]


class _Watch:
    """Counts again and again how many API processes want requests."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.ready_min = len(_nodes(stage))
        self.looks = 0

    async def run(self) -> None:
        while True:
            self.ready_min = min(self.ready_min, await self.ready())
            self.looks += 1
            await asyncio.sleep(POLL_S)

    async def ready(self) -> int:
        return sum(await asyncio.gather(*(_wants_requests(self._stage, node) for node in _nodes(self._stage))))


async def _wants_requests(stage: Stage, node: str) -> bool:
    service = find_service(stage.cluster.topology, f"{node}/api")
    try:
        return (await stage.cluster.asker.ask("GET", f"http://{service.address}/readyz")).status == 200
    except UnreachableError:
        return False


def _nodes(stage: Stage) -> list[str]:
    return [node.name for node in stage.cluster.topology.nodes]


DRILLS = (
    Drill(
        (35,),
        "api-dies-unanswered",
        "An API process dies after an order's commit and before its answer.",
        api_dies_unanswered,
        goal=Goal(ack_ms_max=300),
    ),
    Drill(
        (36,),
        "api-frozen",
        "An API process stands still.",
        api_frozen,
        hold_s=8,
        goal=Goal(ack_ms_max=1200),
    ),
    Drill(
        (37,),
        "descriptors-exhausted",
        "An API process has no file descriptors left.",
        descriptors_exhausted,
        hold_s=8,
    ),
    Drill(
        (37,),
        "connections-exhausted",
        "All connections to the database that the order plane may have are taken.",
        connections_exhausted,
        hold_s=5,
    ),
    Drill(
        (49,),
        "api-restarts-without-standbys",
        "Every API process is restarted while both standbys are held down.",
        api_restarts_without_standbys,
    ),
)
