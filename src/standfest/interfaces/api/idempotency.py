"""The Idempotency-Key header: one, bare or as a structured string (draft-ietf-httpapi-idempotency-key-header)."""

import re

from standfest.interfaces.api.asgi import Scope
from standfest.interfaces.api.body import headers_named
from standfest.interfaces.api.problems import Problem, ProblemFault

HEADER = "Idempotency-Key"
_VISIBLE = re.compile(rb"[!-~]{1,255}")
_STRUCTURED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # RFC 8941, 3.3.3
_ESCAPE = re.compile(rb'\\(["\\])')


def idempotency_key(scope: Scope) -> str:
    """The request's key: 1 to 255 visible ASCII characters; `abc` and `"abc"` are the same key.

    Raises:
        Problem: idempotency-key-missing or idempotency-key-invalid, 400.
    """
    values = headers_named(scope, b"idempotency-key")
    if not values or values == [b""]:
        raise Problem("idempotency-key-missing", "send one Idempotency-Key, new for every order or command")
    if len(values) > 1:
        raise _invalid("there is more than one; send one")
    key = values[0]
    if key.startswith(b'"'):
        quoted = _STRUCTURED.fullmatch(key)
        if quoted is None:
            raise _invalid("the quoted string is not complete")
        key = _ESCAPE.sub(rb"\1", quoted[1])
    if not _VISIBLE.fullmatch(key):
        raise _invalid("expected 1 to 255 visible ASCII characters, without spaces")
    return key.decode("ascii")


def _invalid(detail: str) -> Problem:
    fault = ProblemFault("wrong-value", detail, parameter=HEADER)
    return Problem("idempotency-key-invalid", f"{HEADER}: {detail}", faults=[fault])
