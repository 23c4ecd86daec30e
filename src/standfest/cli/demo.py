"""`standfest demo`: the main job before your eyes, its primary database killed on the way, and the proof."""

import asyncio
import sys
from pathlib import Path

import click
from rich.console import Console

from standfest.cli.cluster import prepare_home, start_cluster
from standfest.cli.demo_view import show
from standfest.cli.drill_progress import DrillProgress
from standfest.cli.grounds import (
    UP_STEP_TIMEOUT_S,
    confirm_breaking,
    grounds_in,
    history_file,
    is_up,
    new_run,
    others_clients,
    start_guard,
)
from standfest.cli.output import as_json, print_json
from standfest.cli.own_client import DEMO
from standfest.cluster.home import Home
from standfest.cluster.topology import Topology
from standfest.emergency.drills.catalogue import find
from standfest.emergency.drills.file_orders import read_orders
from standfest.emergency.drills.results import document
from standfest.emergency.drills.runner import Plan, Result, run_drill

DRILL = "primary-crash"
OTHERS_WARNING = """\
The primary database of the cluster in {home} is killed now. It was up already, and has clients: {others}.
A demonstration of its own: STANDFEST_HOME=DIRECTORY ./standfest demo, once this cluster is down."""


@click.command(epilog="\b\nExamples:\n  standfest demo\n  standfest demo --seconds 60 --rate 80")
@click.option(
    "--seconds",
    type=click.FloatRange(6, 3600),
    default=20,
    show_default=True,
    help="How long orders flow; the primary is killed after a third of it, 5 s at most.",
)
@click.option("--rate", type=click.FloatRange(1, 1000), default=40, show_default=True, help="Orders a second.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Send the orders of this file (CSV, as `standfest replay` takes it) instead of made-up ones.",
)
@click.option("--yes", is_flag=True, help="Do not ask, whoever uses the cluster; for programs.")
@as_json
def demo(seconds: float, rate: float, file: Path | None, yes: bool, as_json: bool) -> None:
    """Start the cluster, let orders flow, kill the primary database, and check every order.

    It is the drill `primary-crash` on the cluster that is up: it asks first where that was up already and has clients
    of somebody's. Exit code 0: every acknowledged order is there, once, as
    it was sent. 1: one is missing, doubled or altered, or the stock does not add up. The cluster stays up.
    """
    if file is not None:
        read_orders(file)  # a file without orders is refused before anything is started
    home = Home.default()
    home.create()
    with home.locked():
        topology = prepare_home(home)
        was_up = is_up(home, topology)
        asyncio.run(start_cluster(home, topology, UP_STEP_TIMEOUT_S))
    if was_up and not yes and (others := others_clients(home, topology)):
        confirm_breaking(topology, OTHERS_WARNING.format(home=home.root, others=", ".join(others)))
    run = new_run()
    # The cluster may be taken as it is, on the way up: the point is to see what happens, not to wait.
    plan = Plan(run, seconds, rate, history_file(home, "demo", run), file=file, must_heal=False)
    result = asyncio.run(_demonstrate(home, topology, plan))
    if as_json:
        print_json(document(result))
    else:
        show(Console(), result)
    sys.exit(0 if result.ok else 1)


async def _demonstrate(home: Home, topology: Topology, plan: Plan) -> Result:
    [drill] = find(DRILL)
    with start_guard(home) as guard:
        async with grounds_in(home, topology, DEMO) as grounds:
            with DrillProgress(Console(stderr=True)) as progress:
                return await run_drill(grounds, guard, drill, plan, progress.tell)
