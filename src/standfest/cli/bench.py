"""`standfest bench`: how much the cluster takes, beside what its databases take of the same rows alone."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from standfest.cli.grounds import end_on_sigterm, isolated, new_run, start_guard
from standfest.cli.output import as_json, print_json
from standfest.cli.own_client import BENCH
from standfest.cli.replay import load, send
from standfest.cli.schema import conninfo
from standfest.cluster.access import app_access
from standfest.cluster.home import Home
from standfest.emergency.drills.stage import Grounds
from standfest.emergency.loops import SHARE_MAX, LoopsFailed, Taken, taken
from standfest.errors import StandfestError
from standfest.scaling.bench import file, growth, hot, journal, offered, orders, overload, pgbench
from standfest.scaling.bench.child import BenchFailed
from standfest.scaling.bench.figures import Document, Result, number
from standfest.scaling.bench.rounds import Plan
from standfest.scaling.bench.target import Target, prepare
from standfest.scaling.bench.versions import versions

Bench = Callable[[Target, Plan], Awaitable[Result]]

BENCHES: Mapping[str, Bench] = {
    "pgbench": pgbench.run,
    "orders": orders.run,
    "hot": hot.run,
    "journal": journal.run,
    "overload": overload.run,
    "offered": offered.run,
    "reads": growth.reads,
}
"""In the order in which they are carried out, between `file` and `growth`: after `reads` no audit runs any more."""
NAMES = ("file", *BENCHES, "growth")
MADE_UP_INVOICES = 1_000
STARVED_S_MAX = 6 * 3600.0
"""How long the busy loops of --starved run at most, however long the benchmarks take."""


class BenchInterrupted(StandfestError):
    """The command was told to end."""

    exit_code = 128 + signal.SIGTERM


@click.command(
    epilog="""\b
Examples:
  standfest bench orders
  standfest bench all --json > results.json
  standfest bench overload --starved 0.67 --times 5
  standfest bench file --file online_retail.csv.gz
  standfest bench growth --orders 1000000"""
)
@click.argument("names", metavar="NAME...|all", nargs=-1, required=True, type=click.Choice([*NAMES, "all"]))
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=10,
    show_default=True,
    help="How long each load lasts, in each round.",
)
@click.option(
    "--clients", type=click.IntRange(1, 1000), default=128, show_default=True, help="Connections that send orders."
)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="How often all is repeated.")
@click.option(
    "--orders",
    "many",
    type=click.IntRange(20_000, 100_000_000),
    default=5_000_000,
    show_default=True,
    help="How many orders `growth` measures among (about 2.5 kB each, on each node).",
)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help=f"What `file` sends, as `replay` reads it. Default: {MADE_UP_INVOICES:,} made-up invoices.",
)
@click.option(
    "--times",
    type=click.IntRange(1, 10),
    default=3,
    show_default=True,
    help="How many times as much as is reached `overload` sends.",
)
@click.option(
    "--starved",
    metavar="SHARE",
    type=click.FloatRange(0, SHARE_MAX),
    default=0.0,
    help="Take this share of the processor, 0 to 0.95, in busy loops while it is measured: as root, or with rtprio.",
)
@as_json
def bench(
    names: tuple[str, ...],
    seconds: float,
    clients: int,
    rounds: int,
    many: int,
    path: Path | None,
    times: int,
    starved: float,
    as_json: bool,
) -> None:
    """Measure on a cluster of its own, durable as always: file, pgbench, orders, hot, journal, overload, offered,
    reads, growth, or all.

    Product and pgbench alternate; told are medians of the rounds with the least and the most, beside the goals. A goal
    that is missed does not fail the command: exit code 1 means that what was measured is worth nothing, also because
    the busy loops took another share than they were to (5 points of difference are allowed): then it is told all the
    same, marked as void, as orders that were lost or answered otherwise are so under any share.
    """
    wanted = [name for name in NAMES if name in names or "all" in names]
    console = Console(stderr=True)
    plan = Plan(
        run=f"bench-{new_run()[-4:]}",
        seconds=seconds,
        clients=clients,
        rounds=rounds,
        tell=lambda what: console.print(what, highlight=False, markup=False, soft_wrap=True),
    )
    try:
        told = asyncio.run(_run(wanted, plan, many, path, times, starved))
    except asyncio.CancelledError:
        raise BenchInterrupted("interrupted; the cluster that was measured is gone") from None
    if as_json:
        print_json(told)
    else:
        _show(Console(), told)
    if void := told["measured"].get("void"):
        raise LoopsFailed(void)


async def _run(names: list[str], plan: Plan, many: int, path: Path | None, times: int, starved: float) -> Document:
    end_on_sigterm()
    home = Home.default()
    home.create()
    told = []
    with start_guard(home) as guard:
        async with isolated(home, guard, None, BENCH) as grounds:
            plan.tell("putting products and stock")
            program = grounds.binaries.postgres_bin / "pgbench"
            app = conninfo(app_access(grounds.cluster.topology, grounds.cluster.secrets))
            target = await prepare(grounds.cluster, program, app, grounds.conninfo, grounds.client, grounds.key)
            benches: dict[str, Bench] = {
                **BENCHES,
                "file": partial(file.run, replay=partial(_replay, grounds, plan.clients, path)),
                "growth": partial(growth.growth, many=many),
                "overload": partial(overload.run, times=times),
            }
            measured: Document = {"seconds": plan.seconds, "clients": plan.clients, "rounds": plan.rounds}
            with starved_by(starved, measured):
                for name in names:
                    told.append((await benches[name](target, replace(plan, run=f"{plan.run}-{name}"))).document())
            parts = await versions(grounds.binaries)
    return {"measured": measured, "versions": parts, "benches": told}


@contextlib.contextmanager
def starved_by(share: float, measured: Document) -> Iterator[None]:
    """Busy loops take the share (0: there are none), and what they took is noted in `measured`; why they make what was
    measured void as well, once there is something. Raises LoopsFailed where nothing could be measured."""
    if not share:
        yield
        return
    loops: Taken | None = None
    try:
        with taken(share, STARVED_S_MAX) as running:
            yield
            loops = running
    except LoopsFailed as error:
        if loops is None:
            raise
        measured["void"] = str(error)
    measured["taken"] = round(loops.share or 0.0, 3)


async def _replay(grounds: Grounds, clients: int, path: Path | None) -> float:
    """Sends the file, or made-up invoices, through the doors; lines a second. Raises BenchFailed."""
    source, plan = load(path, None if path else MADE_UP_INVOICES, seed=1)
    whole = await send(grounds.doors, grounds.key, plan, source, clients, None, lambda: None)
    if not whole["ok"]:
        raise BenchFailed(f"not all of {source} was taken: {whole['reasons']}; see `standfest status`")
    return float(whole["speed"]["lines_per_s"])


def _show(console: Console, told: Document) -> None:
    for each in told["benches"]:
        _show_figures(console, each)
        if each["parts"]:
            _show_parts(console, each["parts"])
    console.print("; ".join(f"{name} {version}" for name, version in told["versions"].items()), highlight=False)


def _show_figures(console: Console, each: Document) -> None:
    table = Table(title=each["name"], title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for column in ("goal", "figure", "least", "most"):
        table.add_column(column, justify="right")
    for figure in each["figures"]:
        values = [number(figure[name]) for name in ("median", "min", "max")]
        table.add_row(figure["what"], figure["goal"], *values, style=None if figure["reached"] else "red")
    if each["figures"]:
        table.add_section()
    for what, values_of in each["rates"].items():
        table.add_row(what, "", *(number(values_of[name]) for name in ("median", "min", "max")), style="dim")
    console.print(table)


def _show_parts(console: Console, parts: Document) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("part", "ms of processor time an order", "MiB"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, used in sorted(parts.items(), key=lambda item: -item[1]["ms_an_order"]):
        table.add_row(part, f"{used['ms_an_order']:.3f}", number(used["memory_mib"]) if "memory_mib" in used else "")
    console.print(table)
