"""A whole cluster for tests: a home, addresses and ports of its own, started and stopped by the real commands.

It never meets a cluster that is up on this machine, nor that of another test run: a file lock hands out blocks of
addresses in 127.0.21.x. Of itself it asserts what every acknowledgement rests on: fsync, strict mode, named standbys.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from standfest.cluster.handle import connected
from standfest.cluster.home import Home
from standfest.cluster.observation import Observation
from standfest.cluster.observe import observe
from standfest.cluster.topology import Door, Node, Processes, Topology
from standfest.cluster.topology_file import render_topology
from standfest.redundancy.report import status_document
from standfest.redundancy.verdict import decide

_BLOCKS = 20
"""Blocks of ten addresses: three nodes, and the doors on the tenth."""

_PROCESSES = Processes()
_COMMAND_TIMEOUT_S = 180


def _service(status: dict[str, Any], full_name: str) -> dict[str, Any]:
    node_name, _, name = full_name.partition("/")
    nodes = {node["name"]: node["services"] for node in status["nodes"]}
    found: dict[str, Any] = next(service for service in nodes[node_name] if service["name"] == name)
    return found


@dataclass(frozen=True)
class LocalCluster:
    """A cluster of a test."""

    home: Path
    topology: Topology

    def run(self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Run one `standfest` command on it; the exit code is for the caller to judge."""
        return subprocess.run(
            [sys.executable, "-m", "standfest", *arguments],
            env={**os.environ, "STANDFEST_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @contextlib.contextmanager
    def begin(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Begin one `standfest` command on it, killed where the block leaves it running; both outputs are one."""
        with subprocess.Popen(
            [sys.executable, "-m", "standfest", *arguments],
            env={**os.environ, "STANDFEST_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def succeed(self, *arguments: str, codes: Sequence[int] = (0,)) -> str:
        """Run one command that has to end with one of `codes`; its standard output."""
        done = self.run(*arguments)
        assert done.returncode in codes, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """The document of `standfest status --json`."""
        document: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return document

    def look(self) -> dict[str, Any]:
        """The same document, asked for without a process of its own."""

        async def ask() -> Observation:
            async with connected(Home(self.home), self.topology) as cluster:
                return await observe(cluster)

        seen = asyncio.run(ask())
        return status_document(self.topology, seen, decide(seen))

    def service(self, full_name: str) -> dict[str, Any]:
        """What `status` says of NODE/NAME."""
        return _service(self.look(), full_name)

    def pid(self, full_name: str) -> int:
        """The pid of NODE/NAME, which runs, to be signalled: on a busy machine a look may come without it."""
        status = self.until(f"the pid of {full_name}", lambda status: _service(status, full_name)["pid"] is not None)
        return int(_service(status, full_name)["pid"])

    def primary(self) -> str:
        """The node of the primary database."""
        for node in self.look()["nodes"]:
            if any(service["role"] == "primary" for service in node["services"]):
                return str(node["name"])
        raise AssertionError("no node is primary")

    def until(self, what: str, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 120.0) -> dict[str, Any]:
        """Ask for the status until `holds` of it; the status that it held of."""
        deadline = time.monotonic() + timeout_s
        while not holds(status := self.look()):
            assert time.monotonic() < deadline, f"waited until {what}: {json.dumps(status, indent=1)}"
            time.sleep(0.2)
        return status

    def until_well(self, timeout_s: float = 120.0) -> None:
        """Wait until all is well."""
        self.until("all is well", lambda status: not status["verdict"]["reasons"], timeout_s)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to the primary as superuser."""
        password = (self.home / "secrets" / "postgres-superuser").read_text(encoding="ascii").strip()
        return psycopg.connect(
            host=",".join(node.address for node in self.topology.nodes),
            port=str(self.topology.ports.postgres),
            user="postgres",
            password=password,
            dbname="postgres",
            target_session_attrs="read-write",
            connect_timeout=5,
        )

    def ask(self, statement: str) -> str:
        """The single value that the primary answers to a statement."""
        with self.connect() as connection:
            row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return str(row[0])

    def do(self, statement: str) -> None:
        """Execute a statement on the primary, and commit."""
        with self.connect() as connection:
            connection.execute(statement.encode())

    def assert_protected(self) -> None:
        """Assert what every acknowledgement rests on: fsync, strict quorum mode, standbys named and streaming."""
        assert self.ask("SHOW fsync") == "on"
        assert self.ask("SHOW synchronous_commit") == "on"
        names = self.ask("SHOW synchronous_standby_names")
        assert names.startswith("ANY 1 ("), names
        assert "*" not in names
        assert self.ask("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'") == "2"

    def processes(self) -> list[str]:
        """Command lines of everything that runs for this cluster, found by its home and PostgreSQL's titles."""
        marks = (str(self.home), f"postgres: {self.topology.name}: ")
        commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        return [command for command in commands if any(mark in command for mark in marks)]


@contextlib.contextmanager
def start_cluster(processes: Processes = _PROCESSES) -> Iterator[LocalCluster]:
    """A cluster that is up and protected; taken down in the end, and no process of it is left."""
    with _address_block() as block:
        home = Path(tempfile.mkdtemp(prefix="standfest-test-cluster-")).resolve()
        cluster = LocalCluster(home / "home", _topology(block, processes))
        topology_file = home / "topology.toml"
        topology_file.write_text(render_topology(cluster.topology), encoding="utf-8")
        home.chmod(0o755)
        try:
            cluster.succeed("up", "--topology", str(topology_file))
            cluster.assert_protected()
            yield cluster
        finally:
            if cluster.home.exists():
                cluster.succeed("down")
            left = cluster.processes()
            shutil.rmtree(home)
        assert left == []


def _topology(block: int, processes: Processes) -> Topology:
    first = block * 10
    door = f"127.0.21.{first + 10}"
    return Topology(
        name=f"test-{block}",
        nodes=tuple(Node(name=f"n{number}", address=f"127.0.21.{first + number}") for number in (1, 2, 3)),
        doors=(
            Door(name="door-1", node="n1", address=door, port=8080),
            Door(name="door-2", node="n2", address=door, port=8081),
        ),
        processes=processes,
    )


@contextlib.contextmanager
def _address_block() -> Iterator[int]:
    """A block of addresses that no other test run on this machine has."""
    with contextlib.ExitStack() as files:
        for block in range(_BLOCKS):
            lock = Path(tempfile.gettempdir()) / f"standfest-test-cluster-{block}.lock"
            file = files.enter_context(lock.open("a", encoding="ascii"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield block
            return
        raise AssertionError(f"all {_BLOCKS} blocks of addresses for test clusters are taken")
