"""`standfest replay`: a wholesaler's real orders, or made-up ones like them, sent through the doors."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from standfest.cli.home import existing_home
from standfest.cli.output import as_json, print_json
from standfest.cli.own_client import REPLAY, own_key
from standfest.cli.schema import conninfo
from standfest.clients.attempts import RetryPolicy
from standfest.clients.orders import OrdersClient
from standfest.cluster.access import owner_access
from standfest.cluster.secrets import Secrets
from standfest.emergency.drills.replay.plan import Plan, make_plan
from standfest.emergency.drills.replay.report import Bucket, account
from standfest.emergency.drills.replay.rows import open_file, read_rows
from standfest.emergency.drills.replay.run import Replay, put_catalogue
from standfest.emergency.drills.replay.summary import measure, whole_report
from standfest.emergency.drills.replay.synthetic import synthetic_lines
from standfest.emergency.drills.replay.window import Window
from standfest.errors import StandfestError

POLICY = RetryPolicy(attempt_s=10.0, deadline_s=120.0)
"""An order outlives a failover of the database (about 30 s at worst) several times over."""


class KeyUnusable(StandfestError):
    """The file with the client key cannot be read."""

    exit_code = 2


@click.command(
    epilog="""\b
Examples:
  standfest replay online_retail.csv.gz --speed 5000
  standfest replay --generate 1000 --seed 7 --json"""
)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--generate", type=click.IntRange(1, 100_000), help="Replay so many made-up invoices, no file.")
@click.option("--seed", default=1, show_default=True, help="Seed of the made-up invoices.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    help="So many times faster than life by the file's times; without it as fast as answers come.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 512),
    default=16,
    show_default=True,
    help="Orders at a time, at most; fewer while the cluster asks to wait.",
)
@click.option("--door", "doors", multiple=True, help="URL of a door; repeatable. Needs --key-file.")
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="File with the client key. Default: the local cluster's."
)
@as_json
def replay(
    file: Path | None,
    generate: int | None,
    seed: int,
    speed: float | None,
    concurrency: int,
    doors: Sequence[str],
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Send every order of FILE (CSV, plain or gzipped) through the doors and account for every row.

    A second replay sends the same requests under the same keys and changes nothing. The exit code is 0 where
    no row failed and the API refused none but for a shortage, else 1. The key needs the scopes orders:write,
    orders:price, catalogue:write and stock:write.
    """
    if (file is None) == (generate is None):
        raise click.UsageError("give either FILE or --generate N")
    if doors and key_file is None:
        raise click.UsageError("with --door give --key-file as well: the local cluster's key is for its own doors")
    console = Console(stderr=True, quiet=as_json)
    with console.status("Reading and planning"):
        source, plan = load(file, generate, seed)
        access = asyncio.run(way_in(doors, key_file))
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("Catalogue and stock", total=len(plan.steps))

        def advance() -> None:
            progress.update(task, description="Orders", advance=1)

        whole = asyncio.run(send(*access, plan, source, concurrency, speed, advance))
    if as_json:
        print_json(whole)
    else:
        Console().print(table(whole))
    sys.exit(0 if whole["ok"] else 1)


async def way_in(doors: Sequence[str], key_file: Path | None) -> tuple[list[str], str]:
    """The doors and the key: those given, else those of the cluster in the home."""
    if doors and key_file is not None:
        return list(doors), read_key(key_file)
    home, topology = existing_home()
    urls = [door.url for door in topology.doors]
    if key_file is not None:
        return urls, read_key(key_file)
    owner = conninfo(owner_access(topology, Secrets(home.secrets)))
    return urls, await own_key(home.secrets, REPLAY, owner, urls)


def read_key(path: Path) -> str:
    """The client key in a file. Raises KeyUnusable."""
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnusable(f"no client key in {path} ({error}): make one with `standfest client add`") from error
    if not key:
        raise KeyUnusable(f"{path} is empty: expected a client key as `standfest client add` prints it")
    return key


def load(file: Path | None, generate: int | None, seed: int) -> tuple[str, Plan]:
    """The name of what is replayed, and the plan for it."""
    if file is not None:
        with open_file(file) as lines:
            return file.name, make_plan(read_rows(lines))
    count = generate or 0
    # Every made-up file has keys of its own: with another seed the same invoice number is another order.
    name = f"generated-{count}-{seed}"
    return name, make_plan(read_rows(synthetic_lines(count, seed=seed)), f"replay:{name}")


async def send(
    doors: Sequence[str],
    key: str,
    plan: Plan,
    source: str,
    concurrency: int,
    speed: float | None,
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Puts the catalogue, sends the plan, and returns the whole report."""
    window = Window(concurrency)
    async with OrdersClient(
        doors,
        key,
        policy=POLICY,
        connections=concurrency,
        on_attempt=lambda verdict: window.report(verdict, time.monotonic()),
    ) as client:
        catalogue = await put_catalogue(client, plan)
        run = Replay(client, plan, window=window, speed=speed, on_result=lambda _step, _result: advance())
        sent = await run.run()
    return whole_report(source, account(plan, sent.results), catalogue, measure(plan, sent))


def table(whole: dict[str, Any]) -> Table:
    """The report for people."""
    out = Table(title=f"Replay of {whole['source']}: {whole['rows']} rows", title_justify="left")
    out.add_column("What")
    out.add_column("Count", justify="right")
    for bucket in Bucket:
        out.add_row(f"rows {bucket.replace('_', ' ')}", f"{whole[bucket]:,}")
        for reason, count in sorted(whole["reasons"].get(bucket, {}).items(), key=lambda item: -item[1]):
            out.add_row(f"  {reason}", f"[dim]{count:,}[/dim]")
    out.add_row("pieces asked to be cancelled that were not", f"{whole['pieces_not_cancelled']:,}")
    for title in ("orders", "cancellations", "catalogue"):
        out.add_section()
        for name, count in whole[title].items():
            out.add_row(f"{title}: {name.replace('_', ' ')}", f"{count:,}")
    out.add_section()
    for name, value in whole["speed"].items():
        out.add_row(name.replace("_per_s", " a second").replace("_s_", " seconds ").replace("_", " "), f"{value:,}")
    return out
