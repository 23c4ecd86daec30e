"""`standfest node` and `standfest service`: hold on purpose, start again, restart, and reload a door."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TypeVar

import click

from standfest.cli.home import existing_home, rendered
from standfest.cli.output import as_json, print_json, progress
from standfest.cluster.binaries import find_binaries
from standfest.cluster.handle import Cluster, connected
from standfest.cluster.inventory import find_service
from standfest.cluster.renewal import Renewed, reload_door, restart_service
from standfest.cluster.secrets import Secrets, generate
from standfest.cluster.takedown import hold_node, hold_service, release_node, release_service
from standfest.cluster.waiting import Progress

_crash = click.option("--crash", is_flag=True, help="Kill at once, as a loss of power would, instead of stopping.")
_timeout = click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="Seconds to wait.")

Done = TypeVar("Done")
Action = Callable[[Cluster, Progress], Awaitable[Done]]


def _run(action: Action[Done]) -> Done:
    """Do one thing to the cluster while no other command changes it."""
    home, topology = existing_home()

    async def act() -> Done:
        async with connected(home, topology) as cluster:
            with progress() as steps:
                return await action(cluster, steps)

    with home.locked():
        return asyncio.run(act())


def _say(as_json: bool, name: str, held: bool) -> None:
    if as_json:
        print_json({"name": name, "held": held})
    elif held:
        click.echo(f"{name} is held until it is started again")
    else:
        click.echo(f"{name} runs")


@click.group()
def node() -> None:
    """Hold a whole node down on purpose, or start it again."""


@node.command("stop", epilog="\b\nExamples:\n  standfest node stop n2\n  standfest node stop n2 --crash")
@click.argument("name")
@_crash
@as_json
def node_stop(name: str, crash: bool, as_json: bool) -> None:
    """Stop everything on node NAME and hold it down, past `down` and `up`, until it is started again."""

    async def act(cluster: Cluster, steps: Progress) -> None:
        await hold_node(cluster, cluster.topology.node(name), crash=crash, progress=steps)

    _run(act)
    _say(as_json, name, held=True)


@node.command("start", epilog="\b\nExample:\n  standfest node start n2")
@click.argument("name")
@_timeout
@as_json
def node_start(name: str, timeout_s: float, as_json: bool) -> None:
    """Start node NAME again and wait until its services run; what is held by itself stays held."""

    async def act(cluster: Cluster, steps: Progress) -> None:
        topology = cluster.topology
        entry = topology.node(name)
        generate(Secrets(cluster.home.secrets), topology)
        binaries = find_binaries(topology.postgres.bin_dir)
        files = rendered(cluster.home, topology, entry, binaries)
        await release_node(cluster, entry, files, binaries, timeout_s, steps)

    _run(act)
    _say(as_json, name, held=False)


@click.group()
def service() -> None:
    """Hold one service down on purpose, start it again, restart it, or reload a door.

    PostgreSQL and its Patroni are held together, whichever is named: Patroni alone would start PostgreSQL again, and
    PostgreSQL alone would have nobody who watches it.
    """


@service.command(
    "stop",
    epilog="\b\nExamples:\n  standfest service stop n1/api\n  standfest service stop n1/postgres --crash",
)
@click.argument("full_name", metavar="NODE/NAME")
@_crash
@as_json
def service_stop(full_name: str, crash: bool, as_json: bool) -> None:
    """Stop a service and hold it down, past `down` and `up`, until it is started again.

    `postgres` and `patroni` of a node are held together.
    """

    async def act(cluster: Cluster, steps: Progress) -> None:
        await hold_service(cluster, find_service(cluster.topology, full_name), crash=crash, progress=steps)

    _run(act)
    _say(as_json, full_name, held=True)


@service.command("start", epilog="\b\nExample:\n  standfest service start n1/api")
@click.argument("full_name", metavar="NODE/NAME")
@_timeout
@as_json
def service_start(full_name: str, timeout_s: float, as_json: bool) -> None:
    """Start a service again and wait until it runs."""

    async def act(cluster: Cluster, steps: Progress) -> None:
        await release_service(cluster, find_service(cluster.topology, full_name), timeout_s, steps)

    _run(act)
    _say(as_json, full_name, held=False)


@service.command(
    "restart", epilog="\b\nExamples:\n  standfest service restart n1/api\n  standfest service restart n2/journal"
)
@click.argument("full_name", metavar="NODE/NAME")
@_timeout
@as_json
def service_restart(full_name: str, timeout_s: float, as_json: bool) -> None:
    """Stop a service in good order, start it again and wait until it runs.

    `postgres` and `patroni` of a node restart together; on the primary's node another one takes over first.
    """

    async def act(cluster: Cluster, steps: Progress) -> Renewed:
        return await restart_service(cluster, find_service(cluster.topology, full_name), timeout_s, steps)

    renewed = _run(act)
    if as_json:
        print_json(asdict(renewed))
    else:
        click.echo(f"{full_name} was restarted: process {renewed.pid_before or 'none'} before, {renewed.pid} now")


@service.command("reload", epilog="\b\nExample:\n  standfest service reload n1/door")
@click.argument("full_name", metavar="NODE/door")
@as_json
def service_reload(full_name: str, as_json: bool) -> None:
    """Have a door take up its configuration, rendered anew from the topology, without refusing a connection.

    HAProxy checks the configuration first; where it does not pass, the door goes on with the one that it has.
    """

    async def act(cluster: Cluster, steps: Progress) -> Renewed:
        topology = cluster.topology
        door = find_service(topology, full_name)
        node = topology.node(door.node)
        binaries = find_binaries(topology.postgres.bin_dir)
        files = rendered(cluster.home, topology, node, binaries)
        configuration = files.get(cluster.node_home(node).config / "door.cfg", "")
        return await reload_door(cluster, door, configuration, binaries, steps)

    renewed = _run(act)
    if as_json:
        print_json(asdict(renewed))
    else:
        click.echo(
            f"{full_name} took up its configuration: process {renewed.pid} takes connections, "
            f"{renewed.pid_before} ends once its clients have gone"
        )
