"""`standfest up` and `standfest down`."""

import asyncio
import contextlib
import time
from pathlib import Path

import click

from standfest.cli.home import existing_home, rendered
from standfest.cli.output import as_json, print_json, progress
from standfest.cli.schema import prepare_database
from standfest.cluster.binaries import find_binaries
from standfest.cluster.bringup import Plan, bring_up
from standfest.cluster.certificates import renew_certificates
from standfest.cluster.handle import Cluster, connected
from standfest.cluster.home import Home, write_private
from standfest.cluster.observation import Observation
from standfest.cluster.observe import observe
from standfest.cluster.processes import processes_of
from standfest.cluster.secrets import Secrets, generate
from standfest.cluster.takedown import take_down
from standfest.cluster.topology import LOCAL, Topology, TopologyError
from standfest.cluster.topology_file import read_topology, render_topology
from standfest.cluster.waiting import NotReadyError
from standfest.redundancy.diagnosis import diagnose
from standfest.redundancy.postgres import dynamic_settings
from standfest.redundancy.report import status_document
from standfest.redundancy.verdict import decide


@click.command(
    epilog="""\b
Examples:
  standfest up
  STANDFEST_HOME=/tmp/second standfest up --topology second.toml"""
)
@click.option(
    "--topology",
    "topology_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Take this topology into the home first (default: the one that is there, else the built-in one).",
)
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="Seconds that one step may take.")
@as_json
def up(topology_file: Path | None, timeout_s: float, as_json: bool) -> None:
    """Start the cluster and wait until an order would be accepted.

    What runs already is left alone, what is held on purpose stays held, and settings that all databases share are put
    right, automatic failover among them. A supervisor that died is replaced, and takes over what it finds running: one
    service after the other is restarted, databases are not, and orders are taken all the time. Certificates that end
    within 30 days are renewed node by node, under running processes. Exit code 1: orders are taken, and not all is
    well.
    """
    home = Home.default()
    home.create()
    with home.locked():
        topology = prepare_home(home, topology_file)
        asyncio.run(_up(home, topology, timeout_s, as_json))


def prepare_home(home: Home, topology_file: Path | None = None) -> Topology:
    """Put the topology and every credential into the home, where they are missing; the home is locked by the caller."""
    if topology_file is None and home.topology.exists():
        topology = read_topology(home.topology)
        generate(Secrets(home.secrets), topology, idle=_is_idle(home, topology))
        return topology
    topology = LOCAL if topology_file is None else read_topology(topology_file)
    if topology_file is not None:
        _refuse_another_cluster(home, topology)
    # The topology comes last: where there is one, there is all that the other commands need.
    generate(Secrets(home.secrets), topology, idle=_is_idle(home, topology))
    text = render_topology(topology) if topology_file is None else topology_file.read_text(encoding="utf-8")
    write_private(home.topology, text)
    return topology


def _is_idle(home: Home, topology: Topology) -> bool:
    """Whether nothing of the cluster runs on this machine."""
    return not any(processes_of(home.node(node.name)) for node in topology.nodes)


def _refuse_another_cluster(home: Home, wanted: Topology) -> None:
    """What runs under the old names and addresses would be forgotten, and nothing would ever stop it."""
    if not home.topology.exists():
        return
    there = read_topology(home.topology)
    if _places(there) == _places(wanted):
        return
    running = [node.name for node in there.nodes if processes_of(home.node(node.name))]
    if running:
        raise TopologyError(
            f"the cluster in {home.root} runs ({', '.join(running)}) with other nodes, addresses or ports than the "
            "given topology; stop it first: ./standfest down"
        )


def _places(topology: Topology) -> tuple[object, ...]:
    """What may not change while processes run: who they are and where they are found."""
    return topology.name, topology.nodes, topology.doors, topology.ports, topology.processes


async def _up(home: Home, topology: Topology, timeout_s: float, as_json: bool) -> None:
    started = time.monotonic()
    seen = await start_cluster(home, topology, timeout_s)
    verdict = decide(seen)
    if as_json:
        print_json(status_document(topology, seen, verdict))
    else:
        doors = " and ".join(door.url for door in topology.doors)
        word = "orders are taken at" if verdict.up else "orders are NOT taken at"
        click.echo(f"up after {time.monotonic() - started:.1f} s: {word} {doors}")
        for reason in verdict.reasons:
            click.echo(f"  but {reason}")
    raise SystemExit(verdict.exit_code)


async def start_cluster(home: Home, topology: Topology, timeout_s: float) -> Observation:
    """Start what does not run, say what is waited for, and look at the result; the home is locked by the caller."""
    binaries = find_binaries(topology.postgres.bin_dir)
    plan = Plan(
        files={node.name: rendered(home, topology, node, binaries) for node in topology.nodes},
        dynamic_settings=dynamic_settings(topology),
        binaries=binaries,
        prepare_database=prepare_database,
        timeout_s=timeout_s,
    )
    async with connected(home, topology) as cluster:
        with progress() as steps:
            try:
                await bring_up(cluster, plan, steps)
                with contextlib.suppress(NotReadyError):  # orders are taken: what still ends is for the verdict to say
                    await renew_certificates(cluster, timeout_s, steps)
            except NotReadyError as error:
                raise NotReadyError(f"{error}; {await _advice(cluster)}") from error
        return await observe(cluster)


async def _advice(cluster: Cluster) -> str:
    """The first thing that `doctor` would say."""
    findings = diagnose(await observe(cluster))
    if not findings:
        return "everything looks well now: try again"
    first = findings[0]
    return f"{first.fault} ({first.evidence}); next: {first.next_command}"


@click.command(epilog="\b\nExample:\n  standfest down")
@as_json
def down(as_json: bool) -> None:
    """Stop the whole cluster in good order; no process is left. What is held stays held."""
    home, topology = existing_home()
    with home.locked():
        asyncio.run(_down(home, topology))
    if as_json:
        print_json({"down": True})


async def _down(home: Home, topology: Topology) -> None:
    async with connected(home, topology) as cluster:
        with progress() as steps:
            await take_down(cluster, steps)
