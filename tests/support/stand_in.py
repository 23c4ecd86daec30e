"""An API process without a database: the product's own server, edge and readiness around an answer from memory.

As a process: `python -m tests.support.stand_in HOST:PORT FILE WORK_MS`; each order's X-Request-Id is appended to FILE
as the work on it begins, so that a test sees how often it was attempted, and where.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from standfest.interfaces.api.asgi import Answer, Receive, Scope, Send
from standfest.interfaces.api.edge import Edge
from standfest.interfaces.api.freshness import Freshness
from standfest.interfaces.api.metrics import ApiMetrics
from standfest.interfaces.api.readiness import Readiness
from standfest.interfaces.api.server import listen, serve
from standfest.interfaces.api.services import Limits

STARTING_S = 0.5
"""So long it is unready at first, and fails what is sent to it all the same."""
ONLY_AT = b"x-only-at"
"""A request with this header is worked on at this address alone, for LONG_S, and refused by all others."""
REFUSAL = b"x-refusal"
"""With ONLY_AT: the status with which all others refuse the request; 503 without it."""
LONG_S = 5.0
SLOW_BODY = b'{"lines":["slow"]}'
"""A request with this body is worked on for SLOW_S."""
SLOW_S = 2.0
LATE_S, TURNING_S = 0.9, 0.05
"""From SIGUSR1 to SIGUSR2 the event loop stands still for so long, then turns for so long, and so on."""


class StandIn:
    """An ASGI app that takes every order after so much time, whatever is in it."""

    def __init__(self, address: str, requests: Path, work_s: float) -> None:
        self.readiness: Readiness | None = None
        self._address = address.encode()
        self._requests = requests.open("a", buffering=1)
        self._work_s = work_s
        self._ready_at = time.monotonic() + STARTING_S

    def starting(self) -> bool:
        """Whether it is not to be sent anything yet."""
        return time.monotonic() < self._ready_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        assert self.readiness is not None
        if scope["path"] == "/readyz":
            reason = self.readiness.reason
            await _send(send, 200 if reason is None else 503, reason or "ready")
            return
        if scope["path"] == "/livez":
            await _send(send, 200, "alive")
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if self.starting():
            await _send(send, 500, "too early")
            return
        only_at = dict(scope["headers"]).get(ONLY_AT)
        if only_at not in (None, self._address):
            await _send(send, int(dict(scope["headers"]).get(REFUSAL, b"503")), "not by this one")
            return
        self._requests.write(f"{scope['request_id']}\n")
        work_s = SLOW_S if body == SLOW_BODY else self._work_s
        await asyncio.sleep(work_s if only_at is None else LONG_S)
        await _send(send, 201, json.dumps({"id": scope["request_id"], "status": "confirmed"}))


async def _send(send: Send, status: int, text: str) -> None:
    await Answer(text.encode(), status=status, media_type="application/json").send(send)


async def lag(late: asyncio.Event) -> None:
    """Makes the event loop late while the event is set."""
    while await late.wait():
        time.sleep(LATE_S)  # noqa: ASYNC251 - it stands still on purpose
        await asyncio.sleep(TURNING_S)


async def run(address: str, requests: Path, work_s: float) -> None:
    """Serves until SIGTERM, as an API process does."""
    host, port = address.split(":")
    app = StandIn(address, requests, work_s)
    readiness = app.readiness = Readiness(Limits.loop_lag_max_s, app.starting)
    edge = Edge(app, readiness, ApiMetrics(readiness), Freshness(Limits.standstill_max_s), Limits.in_flight_max)
    stop, late = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, late.set)
    loop.add_signal_handler(signal.SIGUSR2, late.clear)
    lagging = asyncio.create_task(lag(late))
    await serve(edge, listen(host, int(port)), stop)
    lagging.cancel()


def main(arguments: list[str]) -> Any:
    """The command line."""
    address, requests, work_ms = arguments
    uvloop.run(run(address, Path(requests), int(work_ms) / 1000))


if __name__ == "__main__":
    main(sys.argv[1:])
