"""Problem documents (RFC 9457): what every refusal and failure looks like."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from standfest.domain.faults import Fault
from standfest.errors import StandfestError
from standfest.interfaces.api.asgi import Answer

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "https://standfest.example/problems/"
FAULTS_MAX = 100
"""A document names at most so many faults."""

KINDS: dict[str, tuple[int, str]] = {
    "invalid-request": (400, "The request is malformed"),
    "idempotency-key-missing": (400, "The Idempotency-Key header is missing"),
    "idempotency-key-invalid": (400, "The Idempotency-Key header is malformed"),
    "unauthenticated": (401, "No valid key was given"),
    "forbidden": (403, "The key's scopes do not cover this"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This resource does not have this method"),
    "request-timeout": (408, "The request's body did not arrive in time"),
    "out-of-stock": (409, "The order is declined: not enough in stock"),
    "conflict": (409, "The resource's state does not allow this"),
    "stock-out-of-range": (409, "The movement would leave less than nothing, or too much, on hand"),
    "cursor-expired": (410, "The cursor cannot be continued: start again"),
    "precondition-failed": (412, "The resource has changed"),
    "payload-too-large": (413, "The request's body is too large"),
    "unsupported-media-type": (415, "The request's body is not JSON in UTF-8"),
    "invalid-content": (422, "The request is understood and cannot be carried out"),
    "idempotency-key-reused": (422, "The Idempotency-Key belongs to another request"),
    "precondition-required": (428, "The change must say which version it is about"),
    "overloaded": (429, "Too many requests are under way"),
    "headers-too-large": (431, "The request's headers are too large"),
    "internal-error": (500, "Something went wrong here"),
    "unavailable": (503, "The service cannot do this now"),
    "outcome-unknown": (504, "It is not known whether this was done"),
}
"""Slug -> status and title. Slugs are stable: clients may act on them."""


class ProblemFault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault: in the body (`pointer`), or in a parameter of path, query or header."""

    code: str
    detail: str
    pointer: str | None = None
    """JSON Pointer (RFC 6901) into the request's body; empty for all of it."""
    parameter: str | None = None
    """Name of the path or query parameter or the header."""


class Problem(StandfestError):
    """A refusal or failure that has a status and a document."""

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        faults: Iterable[ProblemFault] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """
        Args:
            slug: a key of KINDS.
            detail: for people: what is wrong with this request, and what to do.
            faults: each fault with its place.
            headers: additional headers of the answer.
            more: further members of the document.
        """
        super().__init__(detail)
        self.slug = slug
        self.status, self.title = KINDS[slug]
        self.detail = detail
        self.faults = tuple(faults)[:FAULTS_MAX]
        self.headers = dict(headers or {})
        self.more = more

    def document(self, request_id: str | None = None) -> bytes:
        """The JSON document."""
        members: dict[str, Any] = {
            "type": TYPE_PREFIX + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.faults:
            members["errors"] = self.faults
        if request_id:
            members["request_id"] = request_id
        return msgspec.json.encode(members | self.more)


def invalid(slug: str, faults: Iterable[Fault]) -> Problem:
    """The problem of a body with `faults`: `invalid-request` (its shape) or `invalid-content` (its meaning)."""
    named = [ProblemFault(fault.code, fault.detail, pointer=fault.pointer) for fault in faults]
    first = f"{named[0].pointer or 'the body'}: {named[0].detail}"
    others = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
    return Problem(slug, first + others, faults=named)


def invalid_parameter(name: str, detail: str) -> Problem:
    """The problem of a path or query parameter or a header."""
    return Problem("invalid-request", f"{name}: {detail}", faults=[ProblemFault("wrong-value", detail, parameter=name)])


def not_found(what: str) -> Problem:
    """The problem of something that is not there, or not there for this client."""
    return Problem("not-found", what)


def answer_problem(problem: Problem, request_id: str) -> Answer:
    """The answer that says it."""
    return Answer(problem.document(request_id), status=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)
