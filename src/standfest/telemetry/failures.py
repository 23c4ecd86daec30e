"""Failures as they may be logged: PostgreSQL's DETAIL, HINT and CONTEXT hold values of rows, so they stay out."""

import traceback
from collections.abc import Iterator

import psycopg
from structlog.typing import ExcInfo


def facts_of(error: BaseException) -> dict[str, str]:
    """Fields for a log event: what kind of failure, its message, and PostgreSQL's SQLSTATE where there is one."""
    facts = {"error_type": type(error).__name__, "error": str(error)}
    if isinstance(error, psycopg.Error):
        facts["error"] = _primary(error)
        facts["sqlstate"] = error.sqlstate or "none"
    return facts


def traceback_of(exc_info: ExcInfo) -> str:
    """A traceback in which every error of PostgreSQL shows its SQLSTATE and primary message only."""
    text = "".join(traceback.format_exception(*exc_info))
    for error in _chain(exc_info[1]):
        if isinstance(error, psycopg.Error) and str(error):
            text = text.replace(str(error), f"{_primary(error)} (SQLSTATE {error.sqlstate})")
    return text.rstrip("\n")


def _primary(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).split("\n", 1)[0]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception with all that led to it."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
