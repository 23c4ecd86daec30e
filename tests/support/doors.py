"""Real doors: HAProxy as the product configures it, in front of API processes without a database."""

import contextlib
import csv
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import psutil

from standfest.cluster.binaries import find_binaries
from standfest.cluster.home import Home
from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import Door, Node, Ports, Topology
from standfest.interfaces.api.descriptors import RESERVED_SHARE
from standfest.redundancy.haproxy import render_door
from standfest.redundancy.site import Site
from tests.support.waiting import wait_until

START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 20.0
DESCRIPTORS = 80


class Doors:
    """The processes door-1, door-2, api-1, api-2 and api-3, each with a file of its name for what it prints."""

    def __init__(self, directory: Path, work_ms: int) -> None:
        self.directory = directory
        self.topology = _topology()
        self.addresses = [(door.address, door.port) for door in self.topology.doors]
        self.urls = [f"http://{host}:{port}" for host, port in self.addresses]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._work_ms = work_ms
        self._haproxy = find_binaries("").haproxy

    def arrange(self) -> None:
        """All five up and seen as up, what is frozen wakes, and what was done so far is forgotten."""
        for name in ("api-1", "api-2", "api-3", "door-1", "door-2"):
            self.signal(name, signal.SIGCONT)
            self.start(name)
        # First: a door takes whom it has not asked yet for one that is up.
        wait_until(lambda: all(map(self._ready, self.topology.nodes)), "all API processes are ready", START_TIMEOUT_S)
        for number in (1, 2):
            wait_until(lambda n=number: self.states(n) == ["UP"] * 3, f"door-{number} sees all", START_TIMEOUT_S)  # type: ignore[misc]
        for path in self.directory.glob("*.requests"):
            os.truncate(path, 0)

    def _ready(self, node: Node) -> bool:
        try:
            return httpx.get(f"http://{node.address}:{self.topology.ports.api}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def start(self, name: str) -> None:
        """Starts the process unless it runs; does not wait."""
        if name in self._processes and self._processes[name].poll() is None:
            return
        kind, _, number = name.partition("-")
        log = (self.directory / name).open("ab")
        command = self._api(int(number)) if kind == "api" else self._door(int(number))
        self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        log.close()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends the signal; a door's worker gets it too where its master could not pass it on."""
        process = self._processes.get(name)
        if process is None or process.poll() is not None:
            return
        victims = [psutil.Process(process.pid)]
        if number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
            victims += victims[0].children(recursive=True)
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(number)
        if number is signal.SIGKILL:
            process.wait(END_TIMEOUT_S)

    @contextlib.contextmanager
    def crowded(self, spare: int) -> Iterator[None]:
        """Strangers' idle connections take all descriptors of each API process but the reserved ones and `spare`."""
        with contextlib.ExitStack() as strangers:
            for number, node in enumerate(self.topology.nodes, start=1):
                process = psutil.Process(self._processes[f"api-{number}"].pid)
                before = process.rlimit(psutil.RLIMIT_NOFILE)
                process.rlimit(psutil.RLIMIT_NOFILE, (DESCRIPTORS, before[1]))
                strangers.callback(process.rlimit, psutil.RLIMIT_NOFILE, before)
                for _ in range(DESCRIPTORS - DESCRIPTORS // RESERVED_SHARE - process.num_fds() - spare):
                    address = (node.address, self.topology.ports.api)
                    strangers.enter_context(socket.create_connection(address, timeout=START_TIMEOUT_S))
            yield

    def ended(self, name: str) -> bool:
        """Whether the process is gone; its exit code must be 0."""
        code = self._processes[name].poll()
        assert code in (None, 0), f"{name} ended with {code}"
        return code == 0

    def states(self, door: int, backend: str = "repeatable") -> list[str]:
        """How the door sees the three API processes: UP, NOLB (no new requests), DOWN, ..."""
        rows = self._statistics(door)
        return [row["status"].split()[0] for row in rows if row["pxname"] == backend and row["svname"][0] == "n"]

    def queued(self, door: int) -> int:
        """How many orders the door keeps for which no API process has room."""
        rows = self._statistics(door)
        return sum(int(row["qcur"]) for row in rows if (row["pxname"], row["svname"]) == ("intake", "BACKEND"))

    def _statistics(self, door: int) -> list[dict[str, str]]:
        host, port = self.topology.nodes[door - 1].address, self.topology.ports.door_stats
        try:
            text = httpx.get(f"http://{host}:{port}/stats;csv", auth=("operator", "secret"), timeout=2).text
        except httpx.TransportError:
            return []
        return list(csv.DictReader(text.lstrip("# ").splitlines()))

    def attempts(self) -> Counter[str]:
        """How often work on each request was begun, all API processes together."""
        return Counter(line for path in self.directory.glob("*.requests") for line in path.read_text().split())

    def attempts_at(self, api: int) -> set[str]:
        """The requests on which this API process began to work."""
        return set((self.directory / f"api-{api}.requests").read_text().split())

    def configuration(self, door: int) -> Path:
        """The door's rendered file."""
        node = self.topology.nodes[door - 1]
        home = Home(self.directory)
        site = Site(
            self.topology,
            node,
            home.node(node.name),
            Secrets(home.secrets),
            {"door-stats": "secret"},
            find_binaries(""),
        )
        path = self.directory / f"door-{door}.cfg"
        path.write_text(render_door(site, self.topology.doors[door - 1]))
        return path

    def stop(self) -> None:
        """Kills whatever runs."""
        for name in self._processes:
            self.signal(name, signal.SIGKILL)

    def _api(self, number: int) -> list[str]:
        address = f"{self.topology.nodes[number - 1].address}:{self.topology.ports.api}"
        requests = str(self.directory / f"api-{number}.requests")
        return [sys.executable, "-m", "tests.support.stand_in", address, requests, str(self._work_ms)]

    def _door(self, number: int) -> list[str]:
        return [str(self._haproxy), "-W", "-f", str(self.configuration(number))]


@contextlib.contextmanager
def running_doors(directory: Path, work_ms: int) -> Iterator[Doors]:
    """Doors until the end of the block, started by `arrange`; an order takes `work_ms`."""
    doors = Doors(directory, work_ms)
    try:
        yield doors
    finally:
        doors.stop()


def _topology() -> Topology:
    """Addresses of these tests alone, ports that nobody has."""
    api, door, stats = (_free_port() for _ in range(3))
    ports = msgspec.structs.replace(Ports(), api=api, door_stats=stats)
    return Topology(
        nodes=tuple(Node(name=f"n{number}", address=f"127.0.35.{number}") for number in (1, 2, 3)),
        doors=tuple(
            Door(name=f"door-{number}", node=f"n{number}", address=f"127.0.35.{number}", port=door) for number in (1, 2)
        ),
        ports=ports,
    )


def _free_port() -> int:
    with socket.create_server(("127.0.35.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
