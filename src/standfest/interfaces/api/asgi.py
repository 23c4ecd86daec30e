"""ASGI 3, as plain as it is on the wire between server and app, and an answer in it."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_WITHOUT_BODY = frozenset({204, 304})


class Answer:
    """A whole answer to a request."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        media_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` on top of Content-Type and Content-Length."""
        self.body = body
        self.status = status
        self.headers = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        if media_type is not None:
            self.headers.append((b"content-type", media_type.encode()))
        if status not in _WITHOUT_BODY:
            self.headers.append((b"content-length", b"%d" % len(body)))

    async def send(self, send: Send) -> None:
        """Sends it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})
