"""The command line `standfest`: gives up root first, then finds the command and runs it."""

import importlib
import sys
from typing import Any

import click

from standfest.cli.privilege import give_up_root
from standfest.errors import StandfestError

COMMANDS = {
    "up": "standfest.cli.cluster:up",
    "down": "standfest.cli.cluster:down",
    "status": "standfest.cli.status:status",
    "doctor": "standfest.cli.status:doctor",
    "logs": "standfest.cli.logs:logs",
    "journal": "standfest.cli.journal:journal",
    "node": "standfest.cli.hold:node",
    "service": "standfest.cli.hold:service",
    "recover": "standfest.cli.recover:recover_command",
    "client": "standfest.cli.client:client",
    "replay": "standfest.cli.replay:replay",
    "demo": "standfest.cli.demo:demo",
    "drill": "standfest.cli.drill:drill",
    "bench": "standfest.cli.bench:bench",
    "audit": "standfest.cli.audit:audit",
    "receipt": "standfest.cli.receipt:receipt",
    "serve": "standfest.cli.serve:serve",
}
"""Command to `module:object`. A module is imported when its command is used, so that each starts quickly."""

_INTERRUPTED = 130


class _LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: Any = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is not a click command")
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="standfest", message="%(prog)s %(version)s")
def cli() -> None:
    """Standfest: an order system whose point is that it does not go down.

    The cluster lives in $STANDFEST_HOME (default ~/.standfest). Exit codes: 0 all well, 1 failed or degraded,
    2 down or wrong usage.
    """


def main() -> None:
    """Run one command and end the process with its exit code; errors are one line each."""
    try:
        give_up_root()
        cli.main(prog_name="standfest", standalone_mode=True)
    except StandfestError as error:
        sys.stderr.write(f"standfest: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
