"""Logs: one JSON object a line, whoever writes, with the request's id and without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import structlog

from standfest.telemetry.failures import facts_of
from standfest.telemetry.logs import configure_logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the logs go; afterwards everything is as it was."""
    root = logging.getLogger()
    handlers, level, configured = root.handlers, root.level, structlog.get_config()
    stream = io.StringIO()
    configure_logs(stream=stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.configure(**configured)
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_loggers_write_json_with_the_context(stream: io.StringIO) -> None:
    """structlog's events and the standard library's messages look alike and carry the request's id."""
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger("ours").warning("something", order_id="o1", nested={"token": "x"}, **{"password": "x"})
    logging.getLogger("theirs").error("it %s", "failed")
    ours, theirs = lines(stream)
    assert (ours["event"], ours["level"], ours["logger"], ours["request_id"]) == ("something", "warning", "ours", "r1")
    assert (ours["order_id"], ours["password"], ours["nested"]) == ("o1", "[hidden]", {"token": "[hidden]"})
    assert (theirs["event"], theirs["level"], theirs["logger"], theirs["request_id"]) == (
        "it failed", "error", "theirs", "r1",
    )  # fmt: skip
    assert theirs["timestamp"].endswith("Z")


def test_an_exception_is_one_line_too(stream: io.StringIO) -> None:
    """A traceback is a field of its event."""
    try:
        raise ValueError("broken")
    except ValueError as error:
        structlog.get_logger("ours").error("failed", exc_info=error)
    [line] = lines(stream)
    assert "ValueError: broken" in line["exception"]


def test_what_rows_hold_does_not_reach_the_log(stream: io.StringIO) -> None:
    """Of PostgreSQL's errors the SQLSTATE and the first message are logged, DETAIL not: it has customers' data."""
    text = 'duplicate key value violates unique constraint "x"\nDETAIL:  Key (name)=(Ada Lovelace) already exists.'
    try:
        try:
            raise psycopg.errors.UniqueViolation(text)
        except psycopg.Error as cause:
            raise ValueError("broken") from cause
    except ValueError as error:
        structlog.get_logger("ours").error("failed", exc_info=error)
        logging.getLogger("theirs").exception("failed")
        structlog.get_logger("ours").warning("failed", **facts_of(error.__cause__ or error))
    *tracebacks, facts = lines(stream)
    for line in tracebacks:
        assert 'unique constraint "x" (SQLSTATE 23505)' in line["exception"]
    assert (facts["sqlstate"], facts["error"]) == ("23505", 'duplicate key value violates unique constraint "x"')
    assert "Ada" not in stream.getvalue()


def test_what_is_below_the_level_is_not_written(stream: io.StringIO) -> None:
    """Debugging is for who asks for it."""
    structlog.get_logger("ours").debug("detail")
    assert lines(stream) == []
