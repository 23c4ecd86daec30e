"""Drills on drainers, which write what the journal accepted: each order once, whoever dies or works beside them."""

import asyncio
import contextlib
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from standfest.clients.asking import UnreachableError
from standfest.cluster.home import write_private
from standfest.cluster.journal import count_entries
from standfest.emergency.drills import faults, processes
from standfest.emergency.drills.catalogue.database import restarted
from standfest.emergency.drills.drill import Drill, Proof
from standfest.emergency.drills.fail_points import armed, died
from standfest.emergency.drills.faults import FaultFailed, Target
from standfest.emergency.drills.processes import Process
from standfest.emergency.drills.replication import standbys_deaf
from standfest.emergency.drills.stage import CONDITION_TIMEOUT_S, STATUS_POLL_S, Stage
from standfest.emergency.drills.undoing import end_program

BACKLOG_MIN = 50
"""So many orders wait in the journal at least when drainers are set on them."""
SECOND_PORT_OFFSET = 900
"""The second drainer of a node listens so far above the first one."""
STOP_TIMEOUT_S = 20.0
IDLE = 5
"""The synthetic orders of a few seconds may always be in the journal."""


async def drainers_die(stage: Stage) -> Proof:
    """Every drainer dies after it has written orders to the database and before it deletes them from the journal."""
    with contextlib.ExitStack() as points:
        async with _backlog(stage) as workers:
            stage.begin("SIGKILL of every drainer after its commit", targets=[str(each) for each in workers])
            for worker in workers:
                points.enter_context(armed(stage, worker, "drain.committed"))
        waiting = await _waiting(stage)
        await died(*workers)
    after = [await restarted(stage, worker) for worker in workers]
    await _drained(stage)
    return {
        "killed": [str(each) for each in workers],
        "at": "drain.committed",
        "started_again": [each.process.pid for each in after],
        "journal_had": waiting,
    }


async def two_drainers(stage: Stage) -> Proof:
    """A second drainer on one node, and each of the others held in its work so that somebody else goes on with it."""
    node = stage.cluster.topology.nodes[0].name
    async with _second_drainer(stage, node) as second:
        async with _backlog(stage) as workers:
            stage.begin("a second drainer on one node", second=second.pid, targets=[str(each) for each in workers])
        waiting = await _waiting(stage)
        for worker in workers:
            await _held(stage, worker)
        await _drained(stage)
        if not processes.is_running(second):
            raise FaultFailed(f"the second drainer (pid {second.pid}) ended by itself: see nodes/{node}/logs")
    return {"second": second.pid, "drainers": [str(each) for each in workers], "journal_had": waiting}


@contextlib.asynccontextmanager
async def _backlog(stage: Stage) -> AsyncIterator[list[Target]]:
    """Keeps the database from committing until orders wait in the journal; yields the drainers, then lets it go on."""

    async def too_few() -> str:
        waiting = await _waiting(stage)
        return "" if waiting is not None and waiting >= BACKLOG_MIN else f"{waiting} orders wait in the journal"

    await stage.primary()
    workers = [await stage.target(node.name, "worker") for node in stage.cluster.topology.nodes]
    async with standbys_deaf(stage):
        await stage.until("a backlog in the journal", too_few, CONDITION_TIMEOUT_S, every_s=STATUS_POLL_S)
        yield workers


async def _waiting(stage: Stage) -> int | None:
    """How many orders wait in the journal; None where no quorum of it says."""
    entries = await count_entries(stage.cluster, datetime.now(UTC))
    return None if entries is None else entries.backlog.count


async def _held(stage: Stage, worker: Target) -> None:
    with faults.frozen_processes([worker.process], stage.guard):

        async def moves() -> str:
            return "" if faults.stands_still([worker.process]) else f"{worker} moves"

        await stage.hold(moves)


async def _drained(stage: Stage) -> None:
    async def too_many() -> str:
        waiting = await _waiting(stage)
        return "" if waiting is not None and waiting <= IDLE else f"{waiting} orders wait in the journal"

    await stage.until("the journal to be drained", too_many, CONDITION_TIMEOUT_S, every_s=STATUS_POLL_S)


@contextlib.asynccontextmanager
async def _second_drainer(stage: Stage, node: str) -> AsyncIterator[Process]:
    """Another worker beside the one that the node has, with a port of its own, until the block ends."""
    home = stage.cluster.node_home(stage.cluster.topology.node(node))
    config = home.config / "worker-second.toml"
    first = (home.config / "worker.toml").read_text(encoding="utf-8")
    listen = str(tomllib.loads(first)["worker"]["listen"])
    host, _, port = listen.rpartition(":")
    address = f"{host}:{int(port) + SECOND_PORT_OFFSET}"
    with stage.undone(lambda: end_program(config), "program", str(config)):
        write_private(config, first.replace(f'"{listen}"', f'"{address}"'))
        worker = _start(config, home.logs / "worker-second.log")
        try:
            await _until_lives(stage, address)
            yield processes.identify(worker.pid)
        finally:
            worker.terminate()
            try:
                await asyncio.to_thread(worker.wait, STOP_TIMEOUT_S)
            finally:
                worker.kill()
                worker.wait()


async def _until_lives(stage: Stage, address: str) -> None:
    async def missing() -> str:
        try:
            answer = await stage.cluster.asker.ask("GET", f"http://{address}/livez")
        except UnreachableError as error:
            return str(error)
        return "" if answer.status == 200 else f"it answers {answer.status}"

    await stage.until("the second drainer", missing, CONDITION_TIMEOUT_S)


def _start(config: Path, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "standfest", "serve", "worker", "--config", str(config)]
    with log.open("ab") as written:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written, stderr=written)


DRILLS = (
    Drill(
        (40,),
        "drainers-die",
        "Every drainer dies after its commit and before it deletes from the journal.",
        drainers_die,
    ),
    Drill(
        (41,), "two-drainers", "A second drainer works beside the first, and others stop in their work.", two_drainers
    ),
)
