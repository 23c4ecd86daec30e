"""How commands speak: progress for people on standard error, results on standard output."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.status import Status

from standfest.cluster.waiting import Progress

as_json = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")
"""The option that every command has."""


def print_json(document: object) -> None:
    """The command's whole answer as one JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


class _Lines:
    """Progress where nobody watches a terminal: one line a step."""

    def doing(self, what: str) -> None:
        click.echo(f"waiting for {what}" if not what.startswith("stopping") else what, err=True)

    def done(self, what: str) -> None:
        return


class _Spinner:
    """Progress on a terminal: what is reached stays, what is waited for moves."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status

    def doing(self, what: str) -> None:
        self._status.update(what)

    def done(self, what: str) -> None:
        self._console.print(f"[green]✓[/green] {what}", highlight=False)


@contextmanager
def progress() -> Iterator[Progress]:
    """Where a long command says what it is doing."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    console = Console(stderr=True)
    with console.status("") as status:
        yield _Spinner(console, status)
