"""Where drills are run: the cluster that is up, or one of their own that is gone afterwards."""

import asyncio
import contextlib
import errno
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from standfest.catalogue.clients import list_clients
from standfest.cli.cluster import prepare_home, start_cluster
from standfest.cli.home import rendered
from standfest.cli.output import progress
from standfest.cli.own_client import own_key
from standfest.cli.owner import owner_connection
from standfest.cli.schema import conninfo
from standfest.cluster.access import owner_access
from standfest.cluster.binaries import find_binaries
from standfest.cluster.handle import connected
from standfest.cluster.home import Home, write_private
from standfest.cluster.processes import processes_of
from standfest.cluster.secrets import Secrets
from standfest.cluster.takedown import take_down
from standfest.cluster.topology import Door, Node, Topology
from standfest.cluster.topology_file import read_topology, render_topology
from standfest.emergency.drills.guard import Guard
from standfest.emergency.drills.stage import Grounds
from standfest.errors import StandfestError

UP_STEP_TIMEOUT_S = 120.0
OWN_PREFIX = "standfest-"
"""Of the names of clients that the command line has for itself."""
NETWORKS = tuple(f"127.0.{number}" for number in range(101, 121))
"""Blocks of loopback addresses for clusters of drills: three nodes, and the doors on the tenth address."""
DOOR_PORTS = (8080, 8081)
HISTORIES_KEPT = 120
"""Histories that are left in the home, the newest ones."""
LOGS_KEPT = 10
"""Failed drills whose nodes' logs are left in the home, the newest ones."""


class BreakingNotConfirmed(StandfestError):
    """The name of the cluster that is to be broken was not typed."""


class NoAddressesLeft(StandfestError):
    """Every block of addresses for drills is taken."""


def confirm_breaking(topology: Topology, what: str) -> None:
    """Asks for the name of the cluster before something is broken in it; BreakingNotConfirmed where it is not typed."""
    click.echo(what, err=True)
    if click.prompt(f"To go on, type the name of the cluster ({topology.name})", err=True) != topology.name:
        raise BreakingNotConfirmed(
            f"that was another name than {topology.name}; nothing was broken, repeat the command to go on"
        )


def is_up(home: Home, topology: Topology) -> bool:
    """Whether anything of the cluster runs."""
    return any(processes_of(home.node(node.name)) for node in topology.nodes)


def others_clients(home: Home, topology: Topology) -> Sequence[str]:
    """The names of the clients that are not the command line's own; ClientsUnreachable where the database is away."""
    with owner_connection(conninfo(owner_access(topology, Secrets(home.secrets)))) as connection:
        return [client.name for client in list_clients(connection) if not client.name.startswith(OWN_PREFIX)]


def end_on_sigterm() -> None:
    """At SIGTERM cancels this task, as an interrupt does: what is held is let go at once, not only by the guard."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def new_run() -> str:
    """The name of a run: the time is for people, the random part keeps two runs of one second apart."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def history_file(home: Home, name: str, run: str) -> Path:
    """The history of this run of a drill; the oldest ones of the home make room."""
    histories = home.root / "drills"
    kept = sorted(histories.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    for old in kept[: -(HISTORIES_KEPT - 1)]:
        old.unlink(missing_ok=True)
    return histories / f"{name}-{run}.jsonl"


def keep_logs(cluster: Home, home: Home, run: str) -> Path:
    """Copies what the nodes of a cluster have logged until now beside the histories; the directory. The oldest copies
    make room."""
    directory = home.root / "drills"
    for old in sorted(directory.glob("logs-*"), key=lambda path: path.stat().st_mtime)[: -(LOGS_KEPT - 1)]:
        shutil.rmtree(old)
    kept = directory / f"logs-{run}"
    for logs in sorted(cluster.root.glob("nodes/*/logs")):
        with contextlib.suppress(shutil.Error):  # a log that was rotated away meanwhile; the others are there
            shutil.copytree(logs, kept / logs.parent.name)
    return kept


def start_guard(home: Home) -> Guard:
    """The guard of the drills of this home, to be entered; what it does is logged there."""
    directory = home.root / "drills"
    directory.mkdir(mode=0o700, exist_ok=True)
    return Guard(directory / "guard.log")


@contextlib.asynccontextmanager
async def grounds_in(home: Home, topology: Topology, client: str) -> AsyncIterator[Grounds]:
    """The cluster in this home, which is up, with a client of our own: an order of it that nobody sent is a finding."""
    binaries = find_binaries(topology.postgres.bin_dir)
    doors = [door.url for door in topology.doors]
    async with connected(home, topology) as cluster:
        database = conninfo(owner_access(topology, cluster.secrets))
        yield Grounds(
            cluster=cluster,
            render=lambda node: rendered(home, topology, node, binaries),
            binaries=binaries,
            client=client,
            key=await own_key(home.secrets, client, database, doors),
            conninfo=database,
        )


@contextlib.asynccontextmanager
async def isolated(parent: Home, guard: Guard, network: str | None, client: str) -> AsyncIterator[Grounds]:
    """A cluster of the drills' own below the home, at addresses of its own; down and gone when the block ends."""
    home = Home(parent.root / "drills" / "cluster")
    with Home(parent.root / "drills").locked():
        await _remove(home)
        with free_network((network,) if network else NETWORKS) as block:
            home.create()
            write_private(home.topology, render_topology(_topology(block)))
            announced = guard.announce(
                ["env", f"STANDFEST_HOME={home.root}", sys.executable, "-m", "standfest", "down"]
            )
            try:
                with home.locked():
                    topology = prepare_home(home)
                    await start_cluster(home, topology, UP_STEP_TIMEOUT_S)
                async with grounds_in(home, topology, client) as grounds:
                    yield grounds
            finally:
                await _take_down(home)
                # What a drill has failed to undo: an `up` without the home would start another cluster, at its own
                # addresses.
                guard.drop_from(announced)
                await _remove(home)


async def _remove(home: Home) -> None:
    """Take down what runs there, an earlier drill's leavings too, and forget it."""
    await _take_down(home)
    if home.root.exists():
        shutil.rmtree(home.root)


async def _take_down(home: Home) -> None:
    if home.topology.exists():
        topology = read_topology(home.topology)
        if is_up(home, topology):
            with home.locked():
                async with connected(home, topology) as cluster:
                    with progress() as steps:
                        await take_down(cluster, steps)


def _topology(network: str) -> Topology:
    return Topology(
        name="drill",
        nodes=tuple(Node(name=f"n{number}", address=f"{network}.{number}") for number in (1, 2, 3)),
        doors=tuple(
            Door(name=f"door-{number}", node=f"n{number}", address=f"{network}.10", port=port)
            for number, port in enumerate(DOOR_PORTS, start=1)
        ),
    )


@contextlib.contextmanager
def free_network(networks: Sequence[str]) -> Iterator[str]:
    """The first of these blocks of addresses on which no door listens, for this process alone; NoAddressesLeft."""
    for network in networks:
        with contextlib.ExitStack() as stack:
            # A name in the abstract namespace is given back by the kernel, however this process ends.
            mark = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                mark.bind(f"\0standfest-drill-{network}")
                for port in DOOR_PORTS:
                    socket.create_server((f"{network}.10", port)).close()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            yield network
            return
    raise NoAddressesLeft(
        f"drills are being run at all of these addresses: {', '.join(networks)}; wait for one to end, "
        "or name another block with --network"
    )
