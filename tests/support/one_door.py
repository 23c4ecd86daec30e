"""A real door in front of API processes that a test started itself."""

from __future__ import annotations

import contextlib
import csv
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from standfest.cluster.binaries import find_binaries
from standfest.cluster.home import Home
from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import Door, Node, Ports, Topology
from standfest.interfaces.api.server import listen
from standfest.redundancy.haproxy import render_door
from standfest.redundancy.site import Site

END_TIMEOUT_S = 20.0
DOOR = "127.0.36.9"


@dataclass(frozen=True)
class OneDoor:
    """A door that runs."""

    url: str
    pid: int
    statistics: str

    def states(self) -> dict[str, str]:
        """How it sees each API process, by name: UP, NOLB (no new requests), DOWN, ..."""
        return {row["svname"]: row["status"] for row in self._rows() if row["pxname"] == "repeatable"}

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def orders_at_a_time(self, name: str) -> int:
        """How many orders it gives an API process at a time."""
        return int(self._intake(name)["slim"])

    def weight(self, name: str) -> int:
        """The weight of an API process among those that take orders."""
        return int(self._intake(name)["weight"])

    def queued_at_most(self) -> int:
        """The most orders that ever waited at once for a place at an API process."""
        return int(self._intake("BACKEND")["qmax"])

    def _intake(self, name: str) -> dict[str, str]:
        [row] = [row for row in self._rows() if (row["pxname"], row["svname"]) == ("intake", name)]
        return row

    def _rows(self) -> list[dict[str, str]]:
        text = httpx.get(f"http://{self.statistics}/stats;csv", auth=("operator", "secret"), timeout=10).text
        return list(csv.DictReader(text.lstrip("# ").splitlines()))


def free_port(address: str) -> int:
    """A port that nobody has there now."""
    with listen(address, 0) as free:
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def one_door(
    directory: Path, addresses: list[str], api_port: int, capacity_port: int | None = None
) -> Iterator[OneDoor]:
    """A door, as the product configures it, to the API processes at this port of these addresses."""
    door = Door(name="door-1", node="n1", address=DOOR, port=free_port(DOOR))
    ports = msgspec.structs.replace(
        Ports(),
        api=api_port,
        api_capacity=capacity_port or free_port(addresses[0]),
        door_stats=free_port(addresses[0]),
    )
    nodes = tuple(Node(name=f"n{number}", address=address) for number, address in enumerate(addresses, start=1))
    topology = Topology(nodes=nodes, doors=(door,), ports=ports)
    home = Home(directory)
    secrets = {"door-stats": "secret"}
    site = Site(topology, nodes[0], home.node("n1"), Secrets(home.secrets), secrets, find_binaries(""))
    path = directory / "door.cfg"
    path.write_text(render_door(site, door))
    with (directory / "door").open("wb") as log:
        process = subprocess.Popen([str(find_binaries("").haproxy), "-db", "-f", str(path)], stdout=log, stderr=log)
    try:
        yield OneDoor(f"http://{DOOR}:{door.port}", process.pid, f"{addresses[0]}:{ports.door_stats}")
    finally:
        process.kill()
        process.wait(END_TIMEOUT_S)
