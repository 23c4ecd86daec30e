"""A real supervisord that was told to end and waits for a program of its own: what those who need it make of it."""

import asyncio
import contextlib
import signal
import socket
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from standfest.clients.asking import Asker, UnreachableError
from standfest.clients.etcd import client_tls
from standfest.clients.supervisor import USER, ProgramState, SupervisorEndingError
from standfest.cluster import supervision
from standfest.cluster.binaries import Binaries
from standfest.cluster.handle import Cluster
from standfest.cluster.home import Home, write_private
from standfest.cluster.observe import observe
from standfest.cluster.processes import everything_of, programs_running
from standfest.cluster.secrets import Secrets, generate
from standfest.cluster.supervision import ensure_supervisor, programs, programs_in_time, start_program, tell_to_stop
from standfest.cluster.topology import Node, Ports, Topology

LINGERS_S = 3.0
SILENT_S = 1.0
STARTED_TIMEOUT_S = 30.0
"""How long the program may take to run, and supervisord to hear that it shall end."""
PROGRAM = f"""
import pathlib, signal, sys, time
def end(*_):
    time.sleep({LINGERS_S})
    pathlib.Path(sys.argv[1]).touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[2]).touch()
while True:
    signal.pause()
"""
"""Takes longer to end than a supervisor may be silent, and says that it came to its end."""
BINARIES = Binaries(Path(sys.executable), Path("/bin/false"), Path("/bin/false"), Path("/bin"), 18)


def topology() -> Topology:
    """Addresses that no cluster has (tests/support/cluster.py), and a port for supervisors that is free now."""
    nodes = tuple(Node(name=f"n{number}", address=f"127.0.21.25{number}") for number in (1, 2, 3))
    with socket.socket() as free:
        free.bind((nodes[0].address, 0))
        port = free.getsockname()[1]
    return Topology(nodes=nodes, doors=(), ports=Ports(supervisor=port))


@contextlib.asynccontextmanager
async def ending(root: Path) -> AsyncIterator[tuple[Cluster, Node]]:
    """A supervisord that was told to end, and has a program that takes its time."""
    home, where = Home(root), topology()
    home.create()
    secrets, node = Secrets(home.secrets), where.node("n1")
    generate(secrets, where, idle=True)
    home.node("n1").create()
    write_private(home.node("n1").config / "supervisord.conf", configuration(home, where, node, secrets))
    tls = client_tls(secrets.authority, secrets.certificate("client"), secrets.key("client"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        cluster = Cluster(home, where, secrets, Asker(session), tls)
        await ensure_supervisor(cluster, node, BINARIES)
        await start_program(cluster, node, "worker")
        await until((root / "started").exists)
        process = next(own.process for own in programs_running(home.node("n1")) if own.program == "supervisor")
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STARTED_TIMEOUT_S
        with contextlib.suppress(SupervisorEndingError):
            while await cluster.supervisor(node).programs():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        yield cluster, node


def configuration(home: Home, where: Topology, node: Node, secrets: Secrets) -> str:
    """The node's supervisord.conf."""
    script = home.root / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    return textwrap.dedent(f"""\
        [inet_http_server]
        port = {node.address}:{where.ports.supervisor}
        username = {USER}
        password = {secrets.password("supervisor")}
        [rpcinterface:supervisor]
        supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
        [supervisord]
        pidfile = {home.node("n1").run / "supervisord.pid"}
        logfile = {home.node("n1").logs / "supervisor.log"}
        [program:worker]
        command = {sys.executable} {script} {home.root / "ended"} {home.root / "started"}
        autostart = false
        startsecs = 0
        """)


async def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + STARTED_TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program takes longer than a supervisor that says nothing has."""
    monkeypatch.setattr(supervision, "_SUPERVISOR_SILENT_S", SILENT_S)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A home of which nothing runs afterwards."""
    yield tmp_path
    for process in everything_of(Home(tmp_path).node("n1")):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_it_is_waited_for_until_it_has_ended(root: Path) -> None:
    """It answers nothing usable and is waited for, longer than one that is silent, until its program has ended well."""

    async def act() -> None:
        async with ending(root) as (cluster, node):
            assert await programs(cluster, node) is None
            assert await programs_in_time(cluster, node) is None
            assert (root / "ended").exists()
            assert programs_running(cluster.node_home(node)) == []

    asyncio.run(act())


def test_another_one_takes_its_place_once_it_has_ended(root: Path) -> None:
    """It is not replaced half-way: the next one starts when the program has ended in good order, and runs no program
    that it was not told to start."""

    async def act() -> None:
        async with ending(root) as (cluster, node):
            await ensure_supervisor(cluster, node, BINARIES)
            assert (root / "ended").exists()
            told = await programs(cluster, node)
            assert told is not None
            assert [each.state for each in told] == [ProgramState.STOPPED]

    asyncio.run(act())


def test_what_it_was_told_to_stop_stops_already(root: Path) -> None:
    """Telling it to stop a program is no error, and who wants one started hears in one line what to do."""

    async def act() -> None:
        async with ending(root) as (cluster, node):
            await tell_to_stop(cluster, node, "worker")
            with pytest.raises(UnreachableError, match=r"^the supervisor of n1 did not start worker .*standfest up$"):
                await start_program(cluster, node, "worker")
            assert (root / "ended").exists()

    asyncio.run(act())


def test_status_says_what_it_is_about(root: Path) -> None:
    """Whoever looks reads that it was told to end, not the number of a fault."""

    async def act() -> None:
        async with ending(root) as (cluster, _):
            seen = (await observe(cluster)).nodes[0].services[0]
            assert seen.evidence.endswith("supervisor was told to end, and waits for its programs to stop")

    asyncio.run(act())
