"""`standfest audit`: is everything there that was acknowledged, once, and as it was agreed?"""

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from standfest import bootstrap
from standfest.cli.home import existing_cluster, existing_home
from standfest.cli.output import as_json, print_json
from standfest.clients.asking import UnreachableError
from standfest.cluster.handle import Cluster
from standfest.cluster.inventory import Kind, Service, services_of
from standfest.intake.audit.books import Books
from standfest.intake.audit.entries import JournalEntries
from standfest.intake.audit.faults import Fault, Faults
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.report import FindingReport, Report
from standfest.intake.audit.sums import Sums, add_up
from standfest.intake.audit.whole import Advance, CannotLook, WholePass, extent, whole_pass
from standfest.intake.journal import Journal
from standfest.storage.database import Database
from standfest.telemetry.logs import configure_logs

_FINDINGS_SHOWN = 20


@click.command(epilog="\b\nExamples:\n  standfest audit\n  standfest audit --full --json")
@click.option("--full", is_flag=True, help="Look at all receipts on this machine and all orders now.")
@as_json
def audit(full: bool, as_json: bool) -> None:
    """Is everything there that was acknowledged, once, and as it was agreed?

    Asks the audit of every node, which looks all the time; with --full this command looks itself, and asks them
    as well. Exit code 0 all well, 1 something is missing, doubled, altered, otherwise wrong, or was not looked at,
    2 could not look at all.
    """
    if full:
        configure_logs(logging.CRITICAL)  # what is found is the answer
        found = asyncio.run(_look_at_all())
        _tell(msgspec.to_builtins(found) | {"ok": found.well}, found.findings, found.faults, as_json)
        raise SystemExit(0 if found.well else 1)
    sums = asyncio.run(_ask_all())
    _tell(msgspec.to_builtins(sums) | {"ok": sums.well}, sums.findings, sums.faults, as_json)
    raise SystemExit(0 if sums.well else 1)


async def _ask_all() -> Sums:
    async with existing_cluster() as cluster:
        services = [
            service
            for node in cluster.topology.nodes
            for service in services_of(cluster.topology, node)
            if service.kind is Kind.AUDIT
        ]
        answers = await asyncio.gather(*(_ask(cluster, service) for service in services))
    reports = [answer for answer in answers if isinstance(answer, Report)]
    silent = [answer for answer in answers if isinstance(answer, str)]
    if not reports:
        raise CannotLook(f"no node's audit answers ({'; '.join(silent)}); see `standfest status`")
    return add_up(reports, silent)


async def _ask(cluster: Cluster, service: Service) -> Report | str:
    """What a node's audit says, or why it says nothing."""
    try:
        answer = await cluster.asker.ask("GET", f"http://{service.address}/v1/audit")
        return msgspec.json.decode(answer.body, type=Report)
    except UnreachableError as error:
        return f"{service.full_name}: {error}"
    except msgspec.MsgspecError as error:
        return f"{service.full_name} answers something else: {error}"


async def _look_at_all() -> WholePass:
    home, topology = existing_home()
    directories = {node.name: home.node(node.name).receipts for node in topology.nodes}
    configuration = bootstrap.Configuration.from_file(home.node(topology.nodes[0].name).config / "audit.toml")
    pool = bootstrap.database(configuration).beside(connections_max=1)
    books = pool.beside(connections_max=1)
    try:
        async with bootstrap.journal_etcd(configuration.journal) as (store, _):
            looks = Looks(pool, JournalEntries(Journal(store, configuration.journal.size_max_bytes)))
            sizes = await extent(directories, looks)
            with _progress(*sizes) as advance:
                found = await whole_pass(directories, looks, advance)
        faults = await _look_at_books(books)
    finally:
        await pool.close()
        await books.close()
    try:
        faults += (await _ask_all()).faults
    except CannotLook as error:
        faults.append(Fault("behind", "audits", str(error), time.time()))
    return msgspec.structs.replace(found, faults=faults)


async def _look_at_books(pool: Database) -> list[Fault]:
    """What is wrong with stock and feed now; what the running audits remember of them they say themselves."""
    faults = Faults()
    with tempfile.TemporaryDirectory() as nothing_before:
        if not await Books(Path(nothing_before), pool, faults).look():
            raise CannotLook("stock and feed cannot be read; see `standfest status`, then try again")
    return faults.all()


@contextmanager
def _progress(receipt_bytes: int, positions: int) -> Iterator[Advance]:
    """Bars on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bars:
        tasks = {"receipts": bars.add_task("receipts", total=receipt_bytes)}
        tasks["orders"] = bars.add_task("orders", total=positions)
        yield lambda what, amount: bars.advance(tasks[what], amount)


def _tell(figures: dict[str, object], findings: list[FindingReport], faults: Sequence[Fault], as_json: bool) -> None:
    if as_json:
        print_json(figures)
        return
    for name, value in figures.items():
        if name not in ("findings", "silent", "faults", "fault_counts"):
            click.echo(f"{name.replace('_', ' '):<28}{_text(value)}")
    silent = figures.get("silent")
    for line in silent if isinstance(silent, list) else []:
        click.echo(f"no answer: {line}")
    for fault in faults[:_FINDINGS_SHOWN]:
        click.echo(f"{fault.kind.replace('_', ' ')}: {fault.subject}: {fault.detail}")
    for finding in findings[:_FINDINGS_SHOWN]:
        click.echo(f"{finding.kind}: order {finding.number} ({finding.order_id}): {finding.detail}")


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
