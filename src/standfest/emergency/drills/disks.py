"""Slow disks: nodes whose flushes take longer, for as long as a drill wants it (see `slow_flush`).

Where a drill is killed its nodes go on, their flushes without a delay; the next restart of a node leaves nothing of it.
"""

import asyncio
import contextlib
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standfest.clients.asking import UnreachableError
from standfest.cluster.supervision import ensure_supervisor
from standfest.cluster.takedown import hold_node, release_node
from standfest.cluster.waiting import Silent
from standfest.emergency.drills import slow_flush
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.stage import RELEASE_TIMEOUT_S, Stage

MEASURED_FLUSHES = 20
ANSWER_TIMEOUT_S = 30.0
_FLUSHED = re.compile(rb"^etcd_disk_wal_fsync_duration_seconds_(sum|count) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Disk:
    """The disk of one node."""

    node: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def delay(self, seconds: float) -> None:
        """Every flush on the node takes so much longer from now on; FaultFailed where that cannot be had."""
        await self._ask(delay_s=seconds)

    async def flush_s(self) -> float:
        """The time that a flush in the node's directory takes now, the median of some."""
        return float((await self._ask(measure=MEASURED_FLUSHES))["median_s"])

    async def _ask(self, **line: float) -> dict[str, Any]:
        self.writer.write(json.dumps(line).encode() + b"\n")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await self.reader.readline()
        except TimeoutError:
            answer = b""
        if not answer:
            raise FaultFailed(f"the process that delays {self.node}'s flushes does not answer: see slow-flush.log")
        told: dict[str, Any] = json.loads(answer)
        return told


@contextlib.asynccontextmanager
async def delayable(stage: Stage, nodes: Sequence[str]) -> AsyncIterator[list[Disk]]:
    """Restarts these nodes in good order, one after the other, so that their flushes can be delayed; at the end of the
    block they are restarted once more, as they were."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="standfest-")))
        disks = []
        for name in nodes:
            run = stage.cluster.node_home(stage.cluster.topology.node(name)).run
            stack.push_async_callback(_restart, stage, name)
            await _restart(stage, name, [sys.executable, "-m", slow_flush.__name__, sockets / name, run])
            reader, writer = await asyncio.open_unix_connection(sockets / name)
            stack.callback(writer.close)
            disks.append(Disk(name, reader, writer))
        yield disks


async def _restart(stage: Stage, name: str, within: Sequence[str | Path] = ()) -> None:
    """Holds a node, starts its supervisor, and lets the node go."""
    cluster, binaries, node = stage.cluster, stage.grounds.binaries, stage.cluster.topology.node(name)
    announced = stage.guard.announce(stage.undoing("standfest", "node", "start", name))
    with cluster.home.locked():
        try:
            await hold_node(cluster, node, crash=False, progress=Silent())
            if within:
                await ensure_supervisor(cluster, node, binaries, within)
        finally:
            await release_node(cluster, node, stage.grounds.render(node), binaries, RELEASE_TIMEOUT_S, Silent())
    stage.guard.drop(announced)
    await stage.until_well()


async def etcd_flushes(stage: Stage, node: str) -> Mapping[str, tuple[float, float]]:
    """Of the node's member of each etcd: seconds that all its flushes took, and how many there were."""
    cluster, found = stage.cluster, {}
    for member in (cluster.etcd(cluster.topology.node(node)), cluster.journal(cluster.topology.node(node))):
        try:
            answer = await cluster.asker.ask("GET", f"https://{member.address}/metrics", tls=cluster.tls)
        except UnreachableError as error:
            raise FaultFailed(f"{node} does not say how long etcd's flushes take: {error}") from error
        told = {name.decode(): float(value) for name, value in _FLUSHED.findall(answer.body)}
        found[member.address] = told["sum"], told["count"]
    return found
