"""`standfest serve`: the order plane's processes, as supervision starts them."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path

import click
import uvloop

from standfest import bootstrap
from standfest.telemetry.logs import configure_logs

COLLECT_AFTER = 20_000, 50, 100
"""Objects made before the garbage collector looks at the youngest, and how many such looks before it looks further: its
defaults had it look at the whole catalogue again and again, for a seventh of an API process's time."""

_config = click.option(
    "--config",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The process's configuration, as `standfest up` renders it.",
)


@click.group()
def serve() -> None:
    """Run a process of the order plane in the foreground; supervision does this."""
    configure_logs()


@serve.command(epilog="Example: standfest serve api --config ~/.standfest/nodes/n1/config/api.toml")
@_config
def api(file: Path) -> None:
    """Answer HTTP requests until SIGTERM."""
    _run(bootstrap.serve_api, file)


@serve.command(epilog="Example: standfest serve worker --config ~/.standfest/nodes/n1/config/worker.toml")
@_config
def worker(file: Path) -> None:
    """Do what is to be done for orders in the background until SIGTERM."""
    _run(bootstrap.serve_worker, file)


@serve.command(epilog="Example: standfest serve audit --config ~/.standfest/nodes/n1/config/audit.toml")
@_config
def audit(file: Path) -> None:
    """Compare what this node acknowledged with what is stored until SIGTERM."""
    _run(bootstrap.serve_audit, file)


def _run(process: Callable[[bootstrap.Configuration, asyncio.Event], Coroutine[None, None, None]], file: Path) -> None:
    gc.set_threshold(*COLLECT_AFTER)
    gc.freeze()  # what was imported stays: no collection has to look at it
    configuration = bootstrap.Configuration.from_file(file)

    async def until_told_to_stop() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await process(configuration, stop)

    uvloop.run(until_told_to_stop())
