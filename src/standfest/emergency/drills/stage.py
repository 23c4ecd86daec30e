"""What a drill's fault works with: the cluster, its status, the history, and holds that end however the drill ends."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from standfest.cluster.binaries import Binaries
from standfest.cluster.handle import Cluster
from standfest.cluster.inventory import find_service
from standfest.cluster.observe import observe
from standfest.cluster.processes import everything_of, processes_of, working_pid
from standfest.cluster.takedown import hold_node, hold_service, release_node, release_service
from standfest.cluster.topology import Node
from standfest.cluster.waiting import Silent
from standfest.emergency.drills import faults, probe, processes
from standfest.emergency.drills.faults import FaultFailed, Target
from standfest.emergency.drills.guard import Guard
from standfest.emergency.drills.history import HistoryWriter
from standfest.emergency.drills.processes import Process
from standfest.redundancy.report import status_document
from standfest.redundancy.verdict import decide

RELEASE_TIMEOUT_S = 90.0
"""How long the services of what was held may take to run again."""
AGREE_TIMEOUT_S = 15.0
"""How long database and status may differ on which server is primary."""
WRITES_BACK_TIMEOUT_S = 90.0
CONDITION_TIMEOUT_S = 30.0
POLL_S = 0.1
"""Between two looks for a condition that is cheap to look at."""
WELL_TIMEOUT_S = 120.0
"""How long the cluster may take to be well in the middle of a drill."""
STATUS_POLL_S = 1.0
"""Between two looks that ask the whole cluster: what is measured shares the machine with them."""
HOLD_POLL_S = 1.0
"""Between two looks at a fault that is held."""
LISTINGS_MAX = 20
"""Looks for processes that a node started while it was being frozen."""


@dataclass(frozen=True)
class Grounds:
    """The cluster on which drills are run, and the client that sends orders to it."""

    cluster: Cluster
    render: Callable[[Node], Mapping[Path, str]]
    """The configuration files of a node."""
    binaries: Binaries
    client: str
    """The name of the client that sends."""
    key: str
    """Its key; scopes orders:write, orders:read, catalogue:read, catalogue:write, stock:write."""
    conninfo: str
    """A libpq connection string for all PostgreSQL servers that may read all tables."""

    @property
    def doors(self) -> Sequence[str]:
        """The public entrances."""
        return [door.url for door in self.cluster.topology.doors]

    async def status(self) -> Mapping[str, Any]:
        """The data of `standfest status --json`, fresh."""
        seen = await observe(self.cluster)
        return status_document(self.cluster.topology, seen, decide(seen))


@dataclass
class Stage:
    """Given to a drill's fault. All that it holds or freezes is undone at the end of a block, and by the guard."""

    grounds: Grounds
    guard: Guard
    history: HistoryWriter
    hold_s: float
    began_at: float | None = None
    """When the fault was put in: seconds, CLOCK_MONOTONIC."""
    undone_at: float | None = None
    """When it was undone, likewise."""
    writes_back_s: float | None = None
    """From the fault to the first durable database write afterwards."""
    rules: dict[str, bool] = field(default_factory=dict)
    """What else must hold under this fault, and whether it did: the drill fails where it did not."""
    also: dict[str, Any] = field(default_factory=dict)
    """What else was seen: figures, and goals that a slow machine may miss. JSON values."""

    @property
    def cluster(self) -> Cluster:
        """The cluster's parts."""
        return self.grounds.cluster

    async def status(self) -> Mapping[str, Any]:
        """The data of `standfest status --json`, fresh."""
        return await self.grounds.status()

    def superuser(self, database: str = "postgres") -> str:
        """A libpq connection string of PostgreSQL's superuser to the primary, wherever it is."""
        topology = self.cluster.topology
        return make_conninfo(
            host=",".join(node.address for node in topology.nodes),
            port=str(topology.ports.postgres),
            dbname=database,
            user="postgres",
            password=self.cluster.secrets.password("postgres-superuser"),
            target_session_attrs="read-write",
            connect_timeout=probe.CONNECT_TIMEOUT_S,
            application_name="standfest-drill",
        )

    def begin(self, what: str, **facts: object) -> None:
        """Called right before the fault is put in: the clock of its figures starts."""
        self.began_at = time.monotonic()
        self.history.write("note", what="fault", t=self.began_at, fault=what, **facts)

    # --- what is there before ---

    async def primary(self) -> tuple[probe.Primary, Target]:
        """The primary as the database itself and as the cluster's status name it, once they agree."""
        deadline = time.monotonic() + AGREE_TIMEOUT_S
        while True:
            try:
                seen = await probe.primary_within(self.grounds.conninfo, probe.HANGS_AFTER_S)
                status = await self.status()
                target = faults.primary(status)
                if target.node == faults.node_at(status, seen.address):
                    return seen, target
                reason = f"status names {target.node}, {seen.address} takes the writes"
            except FaultFailed as error:
                reason = str(error)
            if time.monotonic() > deadline:
                raise FaultFailed(f"which server is primary stays unclear, so nothing was done to it: {reason}")
            await asyncio.sleep(STATUS_POLL_S)

    async def target(self, node: str, service: str) -> Target:
        """The process of NODE/SERVICE."""
        return faults.target(await self.status(), node, service)

    # --- putting faults in ---

    @contextlib.asynccontextmanager
    async def held_service(self, *full_names: str) -> AsyncIterator[None]:
        """Services (NODE/NAME) are killed, and held against supervision until the block ends. One after the other:
        what belongs together in a moment is killed by `faults.kill` before it is held."""
        async with contextlib.AsyncExitStack() as stack:
            for full_name in full_names:
                await stack.enter_async_context(self._held_service(full_name))
            yield

    @contextlib.asynccontextmanager
    async def _held_service(self, full_name: str) -> AsyncIterator[None]:
        service = find_service(self.cluster.topology, full_name)
        announced = self.guard.announce(self.undoing("standfest", "service", "start", full_name))
        try:
            with self.cluster.home.locked():
                await hold_service(self.cluster, service, crash=True, progress=Silent())
            yield
        finally:
            with self.cluster.home.locked():
                await release_service(self.cluster, service, RELEASE_TIMEOUT_S, Silent())
            self.guard.drop(announced)

    @contextlib.asynccontextmanager
    async def held_node(self, name: str, begin: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """A node loses its power, and is held down until the block ends. `begin` is called right before."""
        node = self.cluster.topology.node(name)
        announced = self.guard.announce(self.undoing("standfest", "node", "start", name))
        try:
            with self.cluster.home.locked():
                # All at once, so that nothing sees the others go; what was being started then goes with the hold.
                victims = self._processes_of(name)
                begin()
                faults.lose_power(victims)
                await hold_node(self.cluster, node, crash=True, progress=Silent())
            yield
        finally:
            files = self.grounds.render(node)
            with self.cluster.home.locked():
                await release_node(self.cluster, node, files, self.grounds.binaries, RELEASE_TIMEOUT_S, Silent())
            self.guard.drop(announced)

    @contextlib.contextmanager
    def frozen_node(self, name: str, begin: Callable[[], None] = lambda: None) -> Iterator[list[Process]]:
        """Everything on a node stands still until the block ends; yields what was stopped. `begin`: right before."""
        victims: list[Process] = []
        with contextlib.ExitStack() as stack:
            # What was being started while the others were stopped is found by looking again.
            for _ in range(LISTINGS_MAX):
                new = [process for process in self._processes_of(name) if process not in victims]
                if not new:
                    yield victims
                    return
                if not victims:
                    begin()
                stack.enter_context(faults.frozen_processes(new, self.guard))
                victims += new
            raise FaultFailed(f"{name} went on starting processes while it was being frozen")

    def _processes_of(self, name: str) -> list[Process]:
        home = self.cluster.node_home(self.cluster.topology.node(name))
        return [process for own in everything_of(home) if (process := _identified(own.pid)) is not None]

    # --- proving and waiting ---

    async def hold(self, missing: Callable[[], Awaitable[str]], *, every_s: float = HOLD_POLL_S) -> None:
        """Waits as long as the fault is to be held; FaultFailed as soon as `missing` says why it is not there.

        It is asked at the beginning, at the end and every `every_s` between, and must not disturb what is measured:
        it looks at processes, not at the status of the cluster.
        """
        until = time.monotonic() + self.hold_s
        while True:
            if gap := await missing():
                raise FaultFailed(f"the fault was to be held for {self.hold_s:.0f} s: {gap}")
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            await asyncio.sleep(min(every_s, left_s))

    async def until(
        self, what: str, missing: Callable[[], Awaitable[str]], timeout_s: float, *, every_s: float = POLL_S
    ) -> None:
        """Waits for a condition: `missing` says "" once it is there. FaultFailed after the timeout."""
        deadline = time.monotonic() + timeout_s
        while gap := await missing():
            if time.monotonic() > deadline:
                raise FaultFailed(f"waited {timeout_s:.0f} s for {what}: {gap}")
            await asyncio.sleep(every_s)

    async def until_well(self) -> None:
        """Waits until the status has no reason to complain; FaultFailed after the timeout."""

        async def reasons() -> str:
            return "; ".join((await self.status())["verdict"]["reasons"])

        await self.until("all to be well", reasons, WELL_TIMEOUT_S, every_s=STATUS_POLL_S)

    def process_of(self, full_name: str) -> Process | None:
        """The process of a service (NODE/NAME), found without asking anybody: None where it has none."""
        service = find_service(self.cluster.topology, full_name)
        home = self.cluster.node_home(self.cluster.topology.node(service.node))
        pid = working_pid(processes_of(home), service.kind, service.program)
        return None if pid is None else _identified(pid)

    async def stays_down(self, *full_names: str) -> str:
        """Which of the services (NODE/NAME) have a process nevertheless, as a reason. For `hold`."""
        found = {name: process for name in full_names if (process := self.process_of(name)) is not None}
        return "; ".join(f"{name} runs (pid {process.pid})" for name, process in found.items())

    async def stays_dark(self, *nodes: str) -> str:
        """What runs on these nodes nevertheless, as a reason. For `hold`."""
        found = [
            f"{name}/{own.program}"
            for name in nodes
            for own in processes_of(self.cluster.node_home(self.cluster.topology.node(name)))
        ]
        return f"these run: {', '.join(found)}" if found else ""

    async def writes_back(self, gone: probe.Primary, *, elsewhere: bool = False) -> probe.WritesBack:
        """Waits for the first durable commit on a primary that is not `gone`, and notes how long it took.

        `elsewhere`: the server that is gone is not asked at all; a frozen one takes connections and never answers.
        """
        conninfo = probe.without(self.grounds.conninfo, gone.address) if elsewhere else self.grounds.conninfo
        back = await probe.writes_back(conninfo, gone, WRITES_BACK_TIMEOUT_S)
        self._came_back(back)
        return back

    async def writes_again(self) -> probe.WritesBack:
        """The same where the primary was kept from committing and may be the same one afterwards."""
        back = await probe.writes_back(self.grounds.conninfo, None, WRITES_BACK_TIMEOUT_S)
        self._came_back(back)
        return back

    def _came_back(self, back: probe.WritesBack) -> None:
        if self.began_at is None:
            raise RuntimeError("a fault says that it begins before it waits for its end")
        self.writes_back_s = back.at - self.began_at
        self.history.write(
            "note", what="writes-back", after_s=round(self.writes_back_s, 3), address=back.primary.address
        )

    async def node_of(self, primary: probe.Primary) -> str:
        """The name of the node that a primary runs on."""
        return faults.node_at(await self.status(), primary.address)

    def undoing(self, module: str, *arguments: str) -> list[str]:
        """The command that runs a module on this cluster, for the guard."""
        return ["env", f"STANDFEST_HOME={self.cluster.home.root}", sys.executable, "-m", module, *arguments]

    @contextlib.contextmanager
    def undone(self, undo: Callable[[], None], *what: str) -> Iterator[None]:
        """Undoes something at the end of the block. `what` says the same to the guard (see the module `undoing`), which
        does it where this process is killed, or fails to."""
        number = self.guard.announce(self.undoing("standfest.emergency.drills.undoing", *what))
        try:
            yield
        finally:
            undo()
            self.guard.drop(number)


def _identified(pid: int) -> Process | None:
    try:
        return processes.identify(pid)
    except processes.ProcessGone:
        return None
