"""Versions as strong entity tags, and requests that depend on them (RFC 9110, 8.8.3 and 13.1)."""

import re

from standfest.interfaces.api.asgi import Scope
from standfest.interfaces.api.body import headers_named
from standfest.interfaces.api.problems import Problem, invalid_parameter

Tags = list[tuple[bool, bytes | None]]
"""(weak, tag) of each entity tag that a condition names; tag None for `*`."""

_TAGS = re.compile(rb'(?:W/)?"[!#-~\x80-\xff]*"(?:[ \t]*,[ \t]*(?:W/)?"[!#-~\x80-\xff]*")*')
_TAG = re.compile(rb'(?P<weak>W/)?"(?P<tag>[!#-~\x80-\xff]*)"')


def etag(version: int) -> str:
    """The strong entity tag of a resource's version."""
    return f'"{version}"'


def unchanged(scope: Scope, version: int) -> bool:
    """Whether If-None-Match names this version (weak comparison): the answer is 304."""
    tags = _tags(scope, b"if-none-match", "If-None-Match")
    return tags is not None and any(tag in (None, str(version).encode()) for _, tag in tags)


def if_match(scope: Scope) -> Tags | None:
    """The versions that the request is about; None where it does not say.

    Raises:
        Problem: 400.
    """
    return _tags(scope, b"if-match", "If-Match")


def require_match(tags: Tags | None, version: int | None) -> None:
    """Where there are `tags`, one must be this version's (strong comparison); None: the resource is not there.

    Raises:
        Problem: 412.
    """
    if tags is None:
        return
    matches = version is not None and any(not weak and tag in (None, str(version).encode()) for weak, tag in tags)
    if not matches:
        now = "it is not there" if version is None else f"it is at version {version} now"
        raise Problem("precondition-failed", f"If-Match names another version: {now}; read it again")


def require_if_match(tags: Tags | None) -> None:
    """A change of what is there already must say which version it is about.

    Raises:
        Problem: 428.
    """
    if tags is None:
        raise Problem("precondition-required", "it is there already: send If-Match with the ETag that was read")


def require_single_step(before: int | None, after: int, *, changed: bool) -> None:
    """Makes sure, inside a transaction, that nobody else changed what it changed on a condition.

    Args:
        before: the version that the condition was checked against; None: it was not there.
        after: the version now.
        changed: this transaction raised the version by one.

    Raises:
        Problem: 412.
    """
    if after != (before or 0) + changed:
        raise Problem("precondition-failed", f"it was changed meanwhile, to version {after}; read it again")


def _tags(scope: Scope, header: bytes, name: str) -> Tags | None:
    values = headers_named(scope, header)
    if not values:
        return None
    value = b", ".join(values)
    if value == b"*":
        return [(False, None)]
    if not _TAGS.fullmatch(value):
        raise invalid_parameter(name, 'expected * or entity tags such as "3"')
    return [(match["weak"] is not None, match["tag"]) for match in _TAG.finditer(value)]
