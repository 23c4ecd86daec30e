"""`standfest drill`: break the cluster on purpose while orders flow, and check every order afterwards."""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from standfest.cli.drill_progress import DrillProgress
from standfest.cli.grounds import (
    confirm_breaking,
    end_on_sigterm,
    grounds_in,
    history_file,
    isolated,
    keep_logs,
    new_run,
    start_guard,
)
from standfest.cli.home import existing_home
from standfest.cli.output import as_json, print_json
from standfest.cli.own_client import DRILL
from standfest.cluster.home import Home, write_private
from standfest.emergency.drills.catalogue import DRILLS, find
from standfest.emergency.drills.drill import Drill
from standfest.emergency.drills.guard import Guard
from standfest.emergency.drills.results import (
    COLUMNS,
    Document,
    document,
    line,
    markdown,
    not_carried_out,
    row,
    together,
)
from standfest.emergency.drills.runner import Plan, run_drill
from standfest.emergency.drills.stage import Grounds
from standfest.errors import StandfestError

HERE_WARNING = """\
The cluster in {home} is broken on purpose now, while it serves whoever uses it: {names}.
Without --here a cluster of the drills' own is broken instead."""


class ResultsUnusable(StandfestError):
    """The file is none that `drill run --json` has written."""

    exit_code = 2


class DrillInterrupted(StandfestError):
    """The command was told to end."""

    exit_code = 128 + signal.SIGTERM


@click.group()
def drill() -> None:
    """Break things on purpose while orders flow, and check every order afterwards."""


@drill.command("list", epilog="\b\nExample:\n  standfest drill list")
@as_json
def drill_list(as_json: bool) -> None:
    """Every drill, with its faults in the catalogue of faults."""
    if as_json:
        print_json([{"name": each.name, "faults": list(each.numbers), "summary": each.summary} for each in DRILLS])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("fault", "drill", ""):
        table.add_column(column)
    for each in DRILLS:
        table.add_row(", ".join(map(str, each.numbers)), each.name, each.summary)
    Console(highlight=False).print(table)


@drill.command(
    "run",
    epilog="""\b
Examples:
  standfest drill run primary-crash standby-dead
  standfest drill run all --json > results.json
  standfest drill run node-freezes --here --rate 50
  standfest drill run door-dies --here --yes --json""",
)
@click.argument("names", metavar="NAME...|all", nargs=-1, required=True)
@click.option(
    "--seconds",
    type=click.FloatRange(3, 3600),
    default=15,
    show_default=True,
    help="How long orders flow in each drill at least; longer where the fault takes longer.",
)
@click.option("--rate", type=click.FloatRange(1, 2000), default=200, show_default=True, help="Orders a second.")
@click.option("--hold", type=click.FloatRange(0, 3600), help="Hold each fault so many seconds instead of its own time.")
@click.option("--here", is_flag=True, help="Break the cluster that is up, instead of one of the drills' own.")
@click.option("--yes", is_flag=True, help="With --here: do not ask; for programs.")
@click.option(
    "--network",
    metavar="127.0.N",
    help="Addresses of the drills' own cluster: three numbers, the fourth is 1 to 10 (default: a free block).",
)
@as_json
def drill_run(
    names: tuple[str, ...],
    seconds: float,
    rate: float,
    hold: float | None,
    here: bool,
    yes: bool,
    network: str | None,
    as_json: bool,
) -> None:
    """Run drills by their names, or all of them, one after the other.

    Exit code 0: every fault happened, and no order was lost, doubled, altered or failed. 1: something of it is not so,
    or the cluster was not well again afterwards. What a drill did to the cluster is undone however it ends.
    """
    drills = [drill for name in names for drill in find(name)]
    if here and not yes:
        home, topology = existing_home()
        confirm_breaking(topology, HERE_WARNING.format(names=", ".join(drill.name for drill in drills), home=home.root))
    home = Home.default()
    home.create()
    course = _Course(home, drills, seconds, rate, hold, Console(stderr=True))
    told = course.told
    with start_guard(home) as guard:
        try:
            asyncio.run(_run(course, guard, here=here, network=network))
        except asyncio.CancelledError:
            raise DrillInterrupted("interrupted; what the drill did is undone") from None
    if as_json:
        print_json(course.results)
    else:
        _show(Console(), told)
    sys.exit(0 if course.ok else 1)


async def _run(course: "_Course", guard: Guard, *, here: bool, network: str | None) -> None:
    end_on_sigterm()
    where: AbstractAsyncContextManager[Grounds]
    where = grounds_in(*existing_home(), DRILL) if here else isolated(course.home, guard, network, DRILL)
    async with where as grounds:
        await course.run(grounds, guard)


class _Course:
    """The drills of one command, one after the other."""

    def __init__(
        self, home: Home, drills: Sequence[Drill], seconds: float, rate: float, hold: float | None, console: Console
    ) -> None:
        self.home = home
        self._drills = drills
        self._seconds = seconds
        self._rate = rate
        self._hold = hold
        self._console = console
        self.told: list[Document] = []
        """The results so far; a drill that could not begin is one as well."""

    @property
    def ok(self) -> bool:
        """Each drill was carried out, and passed."""
        return len(self.told) == len(self._drills) and all(each["ok"] for each in self.told)

    @property
    def results(self) -> dict[str, Any]:
        """As `drill table` takes them."""
        return {"ok": self.ok, "results": self.told}

    async def run(self, grounds: Grounds, guard: Guard) -> None:
        """Carries them out. Each result is in a file as soon as it is there: a long course may be cut short."""
        for number, each in enumerate(self._drills, start=1):
            self._console.print(
                f"[bold]{each.name}[/bold] ({number} of {len(self._drills)}): {each.summary}", soft_wrap=True
            )
            run = new_run()
            result = await self._one(grounds, guard, each, run)
            self.told.append(result)
            written = json.dumps(self.results, ensure_ascii=False, indent=2)
            write_private(self.home.root / "drills" / "results.json", written)
            self._console.print(line(result), highlight=False, markup=False, soft_wrap=True)
            if not result["ok"]:
                kept = keep_logs(grounds.cluster.home, self.home, run)
                self._console.print(f"  what the nodes logged: {kept}", highlight=False, markup=False, soft_wrap=True)

    async def _one(self, grounds: Grounds, guard: Guard, drill: Drill, run: str) -> Document:
        history = history_file(self.home, drill.name, run)
        plan = Plan(run, self._seconds, self._rate, history, hold_s=self._hold)
        try:
            with DrillProgress(self._console) as shown:
                return document(await run_drill(grounds, guard, drill, plan, shown.tell))
        except StandfestError as error:
            return not_carried_out(drill, history, str(error))
        except Exception as error:  # noqa: BLE001 - told in full; a defect of one drill takes no other one's result away
            self._console.print_exception()
            return not_carried_out(drill, history, f"a defect of the drill itself: {error!r}")


def _show(console: Console, results: Sequence[Document]) -> None:
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index < 2 else "right")
    for told in results:
        table.add_row(*row(told), style=None if told["ok"] else "red")
    console.print(table)


@drill.command(
    "table",
    epilog="\b\nExample:\n  standfest drill run all --json > results.json\n  standfest drill table results.json",
)
@click.argument(
    "files", metavar="FILE...", type=click.Path(path_type=Path, dir_okay=False, exists=True), nargs=-1, required=True
)
def drill_table(files: tuple[Path, ...]) -> None:
    """The results in each FILE, as `drill run --json` has written them, as one table in Markdown.

    Of several runs of a drill, orders are added up, and of times the longest is told.
    """
    click.echo(markdown(together(map(_results, files))), nl=False)


def _results(file: Path) -> list[dict[str, Any]]:
    try:
        results: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["results"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsUnusable(f"{file} is no result of `standfest drill run --json`: {error!r}") from error
    return results
