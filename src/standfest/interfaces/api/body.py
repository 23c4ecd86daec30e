"""Reading a request's body: bounded in size and time, JSON in UTF-8 and nothing else."""

import asyncio
import re
from typing import Any, TypeVar

from standfest.domain.faults import Invalid
from standfest.interfaces.api.asgi import Scope
from standfest.interfaces.api.operations import ApiRequest
from standfest.interfaces.api.problems import Problem, invalid
from standfest.interfaces.api.shapes import shape
from standfest.interfaces.api.strict_json import parse

BODY_BYTES_MAX = 1024 * 1024
BODY_TIMEOUT_S = 10.0
"""A body that has not arrived by then is given up."""

_JSON = re.compile(rb'application/json[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?', re.IGNORECASE)

Shape = TypeVar("Shape")


async def read_body(request: ApiRequest, type_: type[Shape]) -> tuple[Any, Shape]:
    """The body as the JSON value that was sent, and as a `type_`.

    Raises:
        Problem: 400, 408, 413 or 415.
    """
    _require_json(request.scope)
    raw = await _read(request)
    try:
        value = parse(raw)
        return value, shape(value, type_)
    except Invalid as error:
        raise invalid("invalid-request", error.faults) from error


def headers_named(scope: Scope, name: bytes) -> list[bytes]:
    """Values of every header `name` (lower case), without surrounding white space."""
    return [value.strip(b" \t") for key, value in scope["headers"] if key == name]


def _require_json(scope: Scope) -> None:
    if any(coding.lower() != b"identity" for coding in headers_named(scope, b"content-encoding")):
        raise Problem("unsupported-media-type", "send the body as it is, without a Content-Encoding")
    types = headers_named(scope, b"content-type")
    if len(types) != 1 or not _JSON.fullmatch(types[0]):
        raise Problem("unsupported-media-type", "send JSON in UTF-8 with one Content-Type: application/json")


async def _read(request: ApiRequest) -> bytes:
    for length in headers_named(request.scope, b"content-length"):
        if not length.isdigit() or len(length) > 15 or int(length) > BODY_BYTES_MAX:
            raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            more = True
            while more:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise Problem("invalid-request", "the connection ended before the body did")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > BODY_BYTES_MAX:
                    raise _too_large()
    except TimeoutError:
        close = {"Connection": "close"}
        detail = f"the body did not arrive within {BODY_TIMEOUT_S:g} s"
        raise Problem("request-timeout", detail, headers=close) from None
    return bytes(body)


def _too_large() -> Problem:
    return Problem("payload-too-large", f"a body has at most {BODY_BYTES_MAX} bytes")
