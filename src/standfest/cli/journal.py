"""`standfest journal`: what waits in the journal, how its members are, and what was set apart."""

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TypeVar
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from standfest.cli.home import existing_cluster
from standfest.cli.output import as_json, print_json
from standfest.cluster.handle import Cluster
from standfest.cluster.journal import JournalMember, JournalView, read_entry, retry_entry, view_journal
from standfest.cluster.topology import Topology
from standfest.redundancy.journal_verdict import JournalVerdict, judge_journal

_MIB = 1024 * 1024

Found = TypeVar("Found")


@click.group(invoke_without_command=True, epilog="\b\nExamples:\n  standfest journal\n  standfest journal --json")
@as_json
@click.pass_context
def journal(context: click.Context, as_json: bool) -> None:
    """What waits in the journal, how its members are, and what was set apart.

    Its members are asked themselves: this works while database and API processes are away. Exit code 0 all well,
    1 degraded (orders wait for more than 10 s, some are set apart, a member is missing or full), 2 no quorum.
    """
    if context.invoked_subcommand is not None:
        return
    topology, view = asyncio.run(_look())
    verdict = judge_journal(view, topology.journal)
    if as_json:
        print_json(_document(topology, view, verdict))
    else:
        _print(view, verdict)
    raise SystemExit(verdict.exit_code)


async def _look() -> tuple[Topology, JournalView]:
    async with existing_cluster() as cluster:
        return cluster.topology, await view_journal(cluster, datetime.datetime.now(datetime.UTC))


def _document(topology: Topology, view: JournalView, verdict: JournalVerdict) -> dict[str, object]:
    return {
        "verdict": {"quorum": verdict.has_quorum, "well": verdict.exit_code == 0, "reasons": list(verdict.reasons)},
        "backlog": asdict(view.backlog) if view.backlog else None,
        "size_max_bytes": topology.journal.size_max_mib * _MIB,
        "quota_bytes": topology.journal.quota_mib * _MIB,
        "members": [_member(member) for member in view.members],
        "quarantine": {"count": view.apart_count, "orders": [asdict(entry) for entry in view.apart]},
    }


def _member(member: JournalMember) -> dict[str, object]:
    return {
        "node": member.node,
        "address": member.address,
        "healthy": member.healthy,
        "held": member.held,
        "role": _role(member) or None,
        "size_bytes": member.size_bytes,
        "in_use_bytes": member.in_use_bytes,
        "alarms": list(member.alarms),
    }


def _role(member: JournalMember) -> str:
    if not member.healthy:
        return ""
    return "leader" if member.is_leader else "follower"


def _print(view: JournalView, verdict: JournalVerdict) -> None:
    console = Console(highlight=False)
    if view.backlog is not None:
        age_s = view.backlog.oldest_age_s if view.backlog.count else None
        age = "" if age_s is None else f", the oldest for {age_s:.1f} s"
        console.print(f"{view.backlog.count} orders wait to be drained{age}")
    for reason in verdict.reasons:
        console.print(f"  - {reason}", markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("member", "healthy", "role", "file", "in use", "alarms", "address", ""):
        table.add_column(column)
    for member in view.members:
        table.add_row(
            f"{member.node}/journal",
            "[green]yes[/]" if member.healthy else "[red]no[/]",
            _role(member),
            _mebibytes(member.size_bytes),
            _mebibytes(member.in_use_bytes),
            " ".join(member.alarms),
            member.address,
            "held" if member.held else "",
        )
    console.print(table)
    for entry in view.apart:
        console.print(f"set apart: {entry.id} since {entry.since}: {entry.reason}", markup=False)


def _mebibytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / _MIB:.1f} MiB"


@journal.command(epilog="\b\nExample:\n  standfest journal show 0190b0a4-5a5e-8c00-8000-5f7d6b1c2e3d")
@click.argument("order_id", metavar="ID", type=click.UUID)
@as_json
def show(order_id: UUID, as_json: bool) -> None:
    """Print the journal's entry of order ID, waiting or set apart. It names people: treat it as personal."""
    found = _with_cluster(lambda cluster: read_entry(cluster, order_id))
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"{found.id} is {'set apart' if found.state == 'quarantined' else 'waiting to be drained'}:")
    print_json(found.entry)


@journal.command(epilog="\b\nExample:\n  standfest journal retry 0190b0a4-5a5e-8c00-8000-5f7d6b1c2e3d")
@click.argument("order_id", metavar="ID", type=click.UUID)
@as_json
def retry(order_id: UUID, as_json: bool) -> None:
    """Put order ID, which is set apart, back among those that wait. Nothing is ever deleted."""
    _with_cluster(lambda cluster: retry_entry(cluster, order_id))
    if as_json:
        print_json({"id": str(order_id), "state": "waiting"})
    else:
        click.echo(f"{order_id} waits to be drained again; whether it was: ./standfest journal")


def _with_cluster(action: Callable[[Cluster], Awaitable[Found]]) -> Found:
    async def act() -> Found:
        async with existing_cluster() as cluster:
            return await action(cluster)

    return asyncio.run(act())
