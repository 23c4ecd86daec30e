"""`standfest status` and `standfest doctor`: the parts are asked, nothing is remembered."""

import asyncio
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from standfest.cli.home import existing_cluster
from standfest.cli.output import as_json, print_json
from standfest.cluster.observation import Observation, State
from standfest.cluster.observe import observe
from standfest.cluster.topology import Topology
from standfest.redundancy.diagnosis import Finding, diagnose
from standfest.redundancy.report import status_document
from standfest.redundancy.verdict import Verdict, decide


@click.command(epilog="\b\nExamples:\n  standfest status\n  standfest status --json")
@as_json
def status(as_json: bool) -> None:
    """Are we up, and can we lose a node now? Exit code 0 all well, 1 degraded, 2 down."""
    topology, seen = asyncio.run(_look())
    verdict = decide(seen)
    if as_json:
        print_json(status_document(topology, seen, verdict))
    else:
        _print_status(seen, verdict)
    raise SystemExit(verdict.exit_code)


async def _look() -> tuple[Topology, Observation]:
    async with existing_cluster() as cluster:
        return cluster.topology, await observe(cluster, with_orders=True)


def _print_status(seen: Observation, verdict: Verdict) -> None:
    console = Console(highlight=False)
    console.print(f"up: {_yes(verdict.up)}   can lose a node: {_yes(verdict.can_lose_a_node)}")
    for reason in verdict.reasons:
        console.print(f"  - {reason}", markup=False)
    for warning in verdict.warnings:
        console.print(f"  - soon: {warning}", markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("service", "state", "role", "pid", "address", ""):
        table.add_column(column)
    for node in seen.nodes:
        for service in node.services:
            colour = "green" if service.state is State.RUNNING else "red"
            table.add_row(
                f"{node.name}/{service.name}",
                f"[{colour}]{service.state}[/]",
                service.role.value if service.role else "",
                str(service.pid or ""),
                service.address,
                "held" if service.held else "",
            )
    console.print(table)


def _yes(value: bool) -> str:
    return "[green]yes[/]" if value else "[red]no[/]"


@click.command(epilog="\b\nExample:\n  standfest doctor")
@as_json
def doctor(as_json: bool) -> None:
    """Name each fault, how it is known, and the next command. Exit code 0 where there is none, else as `status`.

    What will be a fault if nobody does anything is named as well, and is none yet.
    """
    _, seen = asyncio.run(_look())
    findings = diagnose(seen)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _print_findings(findings)
    raise SystemExit(max(decide(seen).exit_code, 1 if any(not each.warning for each in findings) else 0))


def _print_findings(findings: tuple[Finding, ...]) -> None:
    if all(each.warning for each in findings):
        click.echo("no fault found")
    for finding in findings:
        soon = "soon: " if finding.warning else ""
        click.echo(f"{soon}{finding.fault}\n  evidence: {finding.evidence}\n  next:     {finding.next_command}")
