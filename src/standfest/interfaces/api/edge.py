"""The outermost layer of every request: its id, its place in the log, the bound, the headers, the figures."""

import random
import re
import time

import structlog

from standfest.interfaces.api.asgi import ASGIApp, Message, Receive, Scope, Send
from standfest.interfaces.api.freshness import Freshness
from standfest.interfaces.api.metrics import ApiMetrics
from standfest.interfaces.api.problems import Problem, answer_problem
from standfest.interfaces.api.readiness import Readiness

PROBES = frozenset({"/livez", "/readyz", "/metrics", "/metrics/receipts", "/v1/health"})
"""Answered however many requests are in flight."""

CROWDED = "standfest.crowded"
"""In the scope of requests on a connection that took one of the last file descriptors."""

_SLASHES = re.compile("/{2,}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")

_ids = random.Random()
_log = structlog.get_logger(__name__)


class Edge:
    """An ASGI app around the API's."""

    def __init__(
        self, app: ASGIApp, readiness: Readiness, metrics: ApiMetrics, freshness: Freshness, in_flight_max: int
    ) -> None:
        self.readiness = readiness
        self.freshness = freshness
        self._app = app
        self._metrics = metrics
        self._in_flight_max = in_flight_max
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Requests that are being worked on."""
        return self._in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        began = time.perf_counter()
        self.freshness.note(scope, _identify(scope))
        scope["path"] = _plain(scope["path"])
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(scope, message)
            await send(message)

        self._in_flight += 1
        try:
            refusal = self._refusal(scope)
            if refusal is None:
                await self._app(scope, receive, send_with_headers)
            else:
                await answer_problem(refusal, scope["request_id"]).send(send_with_headers)
        finally:
            self._in_flight -= 1
            self._record(scope, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Problem | None:
        if scope["path"] in PROBES:
            return None
        headers = {"Retry-After": "1"}
        if self._in_flight > self._in_flight_max:
            detail = "too many requests are under way in this process; nothing was attempted"
        elif scope.get(CROWDED):
            detail = "this process has too many connections; nothing was attempted"
            headers["Connection"] = "close"
        else:
            return None
        self._metrics.shed.inc()
        return Problem("overloaded", detail, headers=headers)

    def _add_headers(self, scope: Scope, message: Message) -> None:
        headers = [*message.get("headers", ()), *_SECURITY_HEADERS]
        headers.append((b"x-request-id", scope["request_id"].encode()))
        if not any(name.lower() == b"cache-control" for name, _ in headers):
            headers.append(_NO_STORE)
        if self.readiness.draining and not any(name.lower() == b"connection" for name, _ in headers):
            headers.append(_CLOSE)
        message["headers"] = headers

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        operation = scope.get("operation")  # none where nothing was found
        name = operation.id if operation else "none"
        self._metrics.count_request(name, status, seconds)
        if status >= 500:
            _log.warning("request", operation=name, status=status, ms=round(seconds * 1000, 1))


def _identify(scope: Scope) -> bytes | None:
    """Gives the request the id and trace that it came with, or new ones, and names them in its log.

    Returns:
        The header X-Taken-At, where there is one.
    """
    request_id, trace_id, taken_at = b"", b"", None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value
        elif name == b"traceparent" and (match := _TRACEPARENT.fullmatch(value)):
            trace_id = match[1]
        elif name == b"x-taken-at":
            taken_at = value
    identifier = request_id.decode() or _new_id()
    scope["request_id"] = identifier
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=identifier, trace_id=trace_id.decode() or _new_id())
    return taken_at


def _new_id() -> str:
    """An id for the log, which nobody has to be unable to guess: 32 hexadecimal digits."""
    return f"{_ids.getrandbits(128):032x}"


def _plain(path: str) -> str:
    """The path however generously it was written: `//v1/orders/` is `/v1/orders`."""
    return "/" + _SLASHES.sub("/", path).strip("/") if "//" in path or path.endswith("/") else path
