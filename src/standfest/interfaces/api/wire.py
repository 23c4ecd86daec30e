"""HTTP/1.1 on the wire: uvicorn's protocol with bounds on headers, and problem documents for what is not HTTP.

What is refused here never reaches the app. The doors bound the same; this holds for who comes past them.
"""

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from standfest.interfaces.api.asgi import ASGIApp, Receive, Scope, Send
from standfest.interfaces.api.descriptors import is_scarce
from standfest.interfaces.api.edge import CROWDED
from standfest.interfaces.api.problems import MEDIA_TYPE, Problem

HEADER_BYTES_MAX = 32 * 1024
"""Request line and headers."""
DISCARD_BYTES_MAX = 8 * 1024 * 1024
"""A client that is still sending when its answer is ready (413) is listened to for so long: a connection that
is closed under it would take the answer with it."""
HEADER_TIMEOUT_S = 10.0
"""From a connection's or request's first sign to the end of its headers; also for a body nobody waits for."""

CROWDED_TIMEOUT_S = 1.0
"""The same until the first sign of a request, where descriptors are scarce: who only connects is let go."""

_REASONS = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_headers = False
        self._header_bytes = 0
        self._discarded_bytes = 0
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives the first request a time to arrive: little where the connection took one of the last descriptors."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if is_scarce(transport.get_extra_info("socket").fileno()):
            self.app = partial(_crowded, self.app)
            self._set_alarm(CROWDED_TIMEOUT_S)
        else:
            self._set_alarm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the waiting."""
        self._clear_alarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes while they can still be a request of a sensible size."""
        super().data_received(data)
        if not self._in_headers or self.transport.is_closing():
            return
        self._header_bytes += len(data)
        if self._header_bytes > HEADER_BYTES_MAX:
            self._refuse(Problem("headers-too-large", f"headers have at most {HEADER_BYTES_MAX} bytes"))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = 0
        self._discarded_bytes = 0
        self._set_alarm()

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        self._in_headers = False
        self._clear_alarm()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hands the body on, or drops it where the answer does not wait for it."""
        if not self.cycle.response_complete:
            super().on_body(body)
            return
        if self._discarded_bytes == 0:
            self._set_alarm()
        self._discarded_bytes += len(body)
        if self._discarded_bytes > DISCARD_BYTES_MAX:
            self.transport.close()

    def on_message_complete(self) -> None:
        """The request is there, answered or not."""
        self._clear_alarm()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP/1.1, and ends the connection."""
        self._refuse(Problem("invalid-request", "this is not HTTP/1.1"))

    def _refuse(self, problem: Problem) -> None:
        # In the middle of another request's answer there is nothing that could be said.
        if self.cycle is None or self.cycle.response_complete:
            body = problem.document()
            head = (
                b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n"
                b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n\r\n"
            )
            values = (problem.status, _REASONS[problem.status], MEDIA_TYPE.encode(), len(body))
            self.transport.write(head % values + body)
        self.transport.close()

    def _set_alarm(self, seconds: float = HEADER_TIMEOUT_S) -> None:
        self._clear_alarm()
        self._alarm = self.loop.call_later(seconds, self._too_late)

    def _clear_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


async def _crowded(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    scope[CROWDED] = True
    await app(scope, receive, send)
