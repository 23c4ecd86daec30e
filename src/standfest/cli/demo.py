"""`standfest demo`: the main job before your eyes, its primary database killed on the way, and the proof."""

import asyncio
import secrets
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from standfest.cli.cluster import prepare_home, start_cluster
from standfest.cli.demo_view import DemoProgress, document, show
from standfest.cli.output import as_json, print_json
from standfest.cli.own_client import DEMO, own_key
from standfest.cli.schema import conninfo
from standfest.cluster.access import owner_access
from standfest.cluster.handle import Cluster as LocalCluster
from standfest.cluster.handle import connected
from standfest.cluster.home import Home
from standfest.cluster.observe import observe
from standfest.cluster.topology import Topology
from standfest.emergency.drills import demo as drill
from standfest.emergency.drills.file_orders import read_orders
from standfest.emergency.drills.replay.plan import PlannedOrder
from standfest.redundancy.report import status_document
from standfest.redundancy.verdict import decide

HISTORIES_KEPT = 20
"""Histories of demonstrations that are left in the home, this one included."""
UP_STEP_TIMEOUT_S = 120.0


@click.command(epilog="\b\nExamples:\n  standfest demo\n  standfest demo --seconds 60 --rate 80")
@click.option(
    "--seconds",
    type=click.FloatRange(6, 3600),
    default=20,
    show_default=True,
    help="How long orders flow; the primary is killed after a third of it.",
)
@click.option("--rate", type=click.FloatRange(1, 1000), default=40, show_default=True, help="Orders a second.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Send the orders of this file (CSV, as `standfest replay` takes it) instead of made-up ones.",
)
@as_json
def demo(seconds: float, rate: float, file: Path | None, as_json: bool) -> None:
    """Start the cluster, let orders flow, kill the primary database, and check every order.

    Exit code 0: every acknowledged order is there, once, as it was sent. 1: one is missing, doubled or altered,
    or the stock does not add up. The cluster stays up.
    """
    orders = None if file is None else read_orders(file)
    home = Home.default()
    home.create()
    with home.locked():
        topology = prepare_home(home)
        asyncio.run(start_cluster(home, topology, UP_STEP_TIMEOUT_S))
    result = asyncio.run(_demonstrate(home, topology, _plan(home, seconds, rate, orders)))
    if as_json:
        print_json(document(result))
    else:
        show(Console(), result)
    sys.exit(0 if result.verdict.ok else 1)


def _plan(home: Home, seconds: float, rate: float, orders: Sequence[PlannedOrder] | None) -> drill.Plan:
    # The time is for people; the random part keeps two runs of one second apart.
    run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    histories = home.root / "drills"
    for old in sorted(histories.glob("demo-*.jsonl"))[: -(HISTORIES_KEPT - 1)]:
        old.unlink()
    return drill.Plan(run, seconds, rate, histories / f"demo-{run}.jsonl", orders)


async def _demonstrate(home: Home, topology: Topology, plan: drill.Plan) -> drill.Result:
    doors = [f"http://{door.address}:{door.port}" for door in topology.doors]
    async with connected(home, topology) as cluster:
        database = conninfo(owner_access(topology, cluster.secrets))
        key = await own_key(home.secrets, DEMO, database, doors)

        async def status() -> Mapping[str, Any]:
            return await _status(cluster)

        with DemoProgress(Console(stderr=True)) as progress:
            # A client of its own: an order of this one that the demonstration did not send is a finding.
            target = drill.Cluster(doors, DEMO, key, database, status)
            return await drill.demonstrate(target, plan, progress.tell)


async def _status(cluster: LocalCluster) -> Mapping[str, Any]:
    seen = await observe(cluster)
    return status_document(cluster.topology, seen, decide(seen))
