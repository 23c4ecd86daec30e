"""`scripts/acceptance NAME`: measures rows of a table, or shows how they stand."""

from __future__ import annotations

import datetime
import sys
from functools import partial

import click
import msgspec
from rich.console import Console

from tests.tables import promises, slow
from tests.tables.outcomes import outcome
from tests.tables.table import Plan, Row, Standing, Table, standing

TABLES = {table.name: table for table in (promises.TABLE, slow.TABLE)}


@click.command(
    epilog="""\b
Examples:
  scripts/acceptance promises
  scripts/acceptance promises --row patroni-frozen --runs 10
  scripts/acceptance promises --short"""
)
@click.argument("name", type=click.Choice(list(TABLES)))
@click.option("--row", "names", multiple=True, help="Measure this row, by its name or number; may be given again.")
@click.option("--runs", type=click.IntRange(1, 1_000), help="So many runs, instead of all that are wanted.")
@click.option("--all", "everything", is_flag=True, help="Measure every row.")
@click.option("--short", is_flag=True, help="Measure the whole table small, in some ten minutes.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def main(name: str, names: tuple[str, ...], runs: int | None, everything: bool, short: bool, as_json: bool) -> None:
    """Measures rows of a table of what is to be reached; without an option shows how they stand.

    Exit code 1: a row falls short, or was never run.
    """
    table = TABLES[name]
    console = Console(stderr=True)
    wanted = _rows(table, names) if names else table.rows if everything or short else ()
    failed = False
    for row in wanted:
        count = row.short_runs if short else runs or row.runs
        if not count:
            continue
        console.print(f"[bold]{row.name}[/bold]: {row.what} ({count} runs)", soft_wrap=True)
        plan = Plan(count, short, lambda what: console.print(f"  {what}", highlight=False, markup=False))
        measured = table.append(row, short, outcome(partial(row.measure, plan))).measured
        failed |= bool(measured.violations) or measured.holds is False or not measured.runs
        console.print(f"  {measured.figure}", highlight=False, markup=False, soft_wrap=True)
    if short:
        sys.exit(1 if failed else 0)
    results = table.results()
    standings = [standing(row, results) for row in table.rows]
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(standings), indent=2).decode() + "\n")
    else:
        _show(standings)
    sys.exit(0 if all(each.holds for each in standings) else 1)


def _rows(table: Table, names: tuple[str, ...]) -> list[Row]:
    numbered = {str(number): row for number, row in enumerate(table.rows, start=1)}
    known = numbered | {row.name: row for row in table.rows}
    for name in names:
        if name not in known:
            raise click.BadParameter(f"'{name}' is none of {', '.join(row.name for row in table.rows)}")
    return [known[name] for name in names]


def _show(standings: list[Standing]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for each in standings:
        short = "falls short" if each.decided else "not decided"
        verdict = "holds" if each.holds else short if each.runs else "never run"
        console.print(f"[{'green' if each.holds else 'red'}]{verdict:<11}[/] [bold]{each.row}[/bold]: {each.what}")
        runs = f"{each.runs} of {each.wanted} runs, {each.violations} violations"
        pgbench = "" if each.reference_per_s is None else f", pgbench {each.reference_per_s:.0f}/s"
        console.print(f"            goal {each.goal}; {runs}; {each.commit} {_age(each.at)} ago{pgbench}", markup=False)
        console.print(f"            {each.figure}", markup=False)


def _age(at: str) -> str:
    if not at:
        return ""
    seconds = (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(at)).total_seconds()
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


if __name__ == "__main__":
    main()
