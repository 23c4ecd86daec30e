"""The API as a process: uvicorn, watched and ended gracefully."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from standfest.interfaces.api.descriptors import raise_limit
from standfest.interfaces.api.edge import Edge
from standfest.interfaces.api.wire import BoundedProtocol

DRAIN_S = 1.5
"""Several of the doors' check intervals: one answered check is enough for a door to send nothing more."""
FINISH_S = 10
"""Longer than a request's own deadlines, so that nothing is cut off that could still end by itself."""
_KEEP_ALIVE_S = 75
_BACKLOG = 2_048

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


async def serve(
    api: Edge,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    drain_s: float = DRAIN_S,
    finish_s: int = FINISH_S,
) -> None:
    """Serves until `stop` is set, and then ends without a request noticing.

    It is unready at once, serves on until the doors have seen that, takes no new connection, and finishes
    what is under way.

    Args:
        api: from `create_app`.
        listener: from `listen`; closed at the end.
        stop: set by who handles SIGTERM.
        drain_s: seconds to serve on, unready, before the listener is closed.
        finish_s: seconds that requests under way then have.
    """
    raise_limit()
    server = _Server(_config(api, finish_s))
    drainer = asyncio.create_task(_drain(api, server, stop, drain_s))
    api.readiness.watch()
    api.freshness.standstill.watch()
    try:
        await server.serve(sockets=[listener])
    finally:
        drainer.cancel()
        api.freshness.standstill.stop()
        await api.readiness.stop()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port shows before anything else is started.

    Raises:
        OSError: the address is not there or the port is taken.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


async def _drain(api: Edge, server: uvicorn.Server, stop: asyncio.Event, drain_s: float) -> None:
    await stop.wait()
    api.readiness.draining = True
    _log.info("draining", seconds=drain_s, in_flight=api.in_flight)
    await asyncio.sleep(drain_s)
    _log.info("finishing", in_flight=api.in_flight)
    server.should_exit = True


def _config(api: Edge, finish_s: int) -> uvicorn.Config:
    return uvicorn.Config(
        api,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=finish_s,
        backlog=_BACKLOG,
    )
