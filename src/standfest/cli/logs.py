"""`standfest logs`: the last lines that services wrote."""

from collections import deque
from pathlib import Path

import click

from standfest.cli.home import existing_home
from standfest.cli.output import as_json, print_json
from standfest.cluster.home import NodeHome
from standfest.cluster.inventory import Kind, Service, services_of
from standfest.cluster.topology import Topology, TopologyError


@click.command(epilog="\b\nExamples:\n  standfest logs patroni\n  standfest logs n1/api --lines 100")
@click.argument("service", required=False)
@click.option(
    "--lines", default=20, show_default=True, type=click.IntRange(1, 100_000), help="Lines of each service's log."
)
@as_json
def logs(service: str | None, lines: int, as_json: bool) -> None:
    """Show the last lines of SERVICE's log: NODE/NAME, or NAME for it on every node, or all services."""
    home, topology = existing_home()
    found = []
    for each in _chosen(topology, service):
        file = _log_file(home.node(each.node), each)
        if file is not None:
            found.append((each.full_name, file, _last_lines(file, lines)))
    if as_json:
        print_json([{"service": name, "file": str(file), "lines": text} for name, file, text in found])
        return
    for name, file, text in found:
        click.echo(f"==> {name} ({file})")
        for line in text:
            click.echo(line)


def _chosen(topology: Topology, wanted: str | None) -> list[Service]:
    services = [service for node in topology.nodes for service in services_of(topology, node)]
    chosen = [service for service in services if wanted in (None, service.name, service.full_name, service.node)]
    if not chosen:
        names = ", ".join(dict.fromkeys(service.name for service in services))
        raise TopologyError(f"there is no service '{wanted}'; there are {names}, alone or after NODE/")
    return chosen


def _log_file(home: NodeHome, service: Service) -> Path | None:
    """PostgreSQL begins a new file now and then, the others have one each; None where nothing was written yet."""
    pattern = "postgres-*.log" if service.kind is Kind.POSTGRES else f"{service.name}.log"
    return max(home.logs.glob(pattern), key=lambda file: file.stat().st_mtime, default=None)


def _last_lines(file: Path, count: int) -> list[str]:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return [line.rstrip("\n") for line in deque(stream, maxlen=count)]
