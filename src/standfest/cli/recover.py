"""`standfest recover`: the way back from the loss of nodes, disks included."""

import asyncio
from dataclasses import asdict

import click

from standfest.cli.home import existing_home, rendered
from standfest.cli.output import as_json, print_json, progress
from standfest.cli.schema import prepare_database
from standfest.cluster.binaries import find_binaries
from standfest.cluster.bringup import Plan
from standfest.cluster.handle import Cluster, connected
from standfest.cluster.home import Home
from standfest.cluster.observation import Observation
from standfest.cluster.observe import observe
from standfest.cluster.recovery import Recovered, needs_to_stand_alone, recover
from standfest.cluster.secrets import Secrets, generate
from standfest.cluster.topology import Topology
from standfest.errors import StandfestError
from standfest.redundancy.postgres import dynamic_settings
from standfest.redundancy.verdict import decide

_WARNING = """\
{survivor} is made the whole cluster: its database is promoted, its members of both etcd clusters become the only ones.
- Kept: all that {survivor} holds, and what its journal holds is written to the database in the end.
- LOST for good: what only {others} held. That is what they acknowledged without {survivor}: orders that it had not
  received yet. `./standfest audit --full` names those that {survivor} answered itself.
- Who follows the feed of changes is told to start again (410): what the lost nodes showed may be gone.
- There is no way back: if {others} run again from their old disks, there are two clusters that both take orders.
"""


class NotConfirmedError(StandfestError):
    """The name of the node that is left was not typed."""


@click.command(
    "recover",
    epilog="\b\nExamples:\n  standfest recover n3\n  standfest recover n3 --yes --json",
)
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask; for programs. Read the runbook two-nodes-lost first.")
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="Seconds that one step may take.")
@as_json
def recover_command(name: str, yes: bool, timeout_s: float, as_json: bool) -> None:
    """Serve again from node NAME where other nodes are gone for good, and let new, empty ones take their place.

    Where only node NAME is left, it stands for the whole cluster; what the lost nodes alone held is lost. It refuses
    while one of them answers or its disk is there: then `standfest node start` is the way back, and nothing is lost.
    Where the cluster still has its quorum, only nodes whose disks are empty are given their place again.
    """
    home, topology = existing_home()
    with home.locked():
        asyncio.run(_recover(home, topology, name, yes, timeout_s, as_json))


async def _recover(home: Home, topology: Topology, name: str, yes: bool, timeout_s: float, as_json: bool) -> None:
    survivor = topology.node(name)
    generate(Secrets(home.secrets), topology)
    binaries = find_binaries(topology.postgres.bin_dir)
    plan = Plan(
        files={node.name: rendered(home, topology, node, binaries) for node in topology.nodes},
        dynamic_settings=dynamic_settings(topology),
        binaries=binaries,
        prepare_database=prepare_database,
        timeout_s=timeout_s,
    )
    async with connected(home, topology) as cluster:
        if not yes and await needs_to_stand_alone(cluster, survivor):
            _confirm(cluster, name)
        with progress() as steps:
            done = await recover(cluster, survivor, plan, steps)
        seen = await observe(cluster)
    _say(done, seen, name, as_json)


def _confirm(cluster: Cluster, name: str) -> None:
    others = " and ".join(node.name for node in cluster.topology.nodes if node.name != name)
    click.echo(_WARNING.format(survivor=name, others=others), err=True)
    if click.prompt(f"To go on, type the name of the node that is left ({name})", err=True) != name:
        raise NotConfirmedError(f"that was another name than {name}; nothing was changed, repeat the command to go on")


def _say(done: Recovered, seen: Observation, name: str, as_json: bool) -> None:
    verdict = decide(seen)
    if as_json:
        reasons = list(verdict.reasons)
        print_json({"survivor": name, **asdict(done), "kept": str(done.kept or ""), "reasons": reasons})
    else:
        if done.alone:
            counted = ", ".join(f"{count} in {store}" for store, count in done.committed.items())
            click.echo(f"{name} was made the whole cluster; entries that count now, as it holds them: {counted}")
            click.echo(f"entries that its journal held a moment ago, given to the database again: {done.brought_back}")
            click.echo(f"its etcd members as they were are in {done.kept}")
        click.echo(f"new in the cluster: {', '.join(done.joined) or 'nobody'}")
        for reason in verdict.reasons:
            click.echo(f"  but {reason}")
    raise SystemExit(verdict.exit_code)
