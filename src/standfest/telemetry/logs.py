"""Structured logs: one JSON object a line on standard error, without secrets and without bodies."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from standfest.telemetry.failures import traceback_of

HIDDEN = frozenset({"authorization", "password", "secret", "token", "key", "body", "cookie", "dsn"})
"""Fields whose values never reach a log, whoever passes them."""


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replaces the values of fields that must not be logged."""
    return _hidden(event)


def _hidden(fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in fields.items():
        if str(name).lower() in HIDDEN:
            fields[name] = "[hidden]"
        elif isinstance(value, dict):
            fields[name] = _hidden(dict(value))
    return fields


def configure_logs(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Sends structlog's and the standard library's messages to `stream` (standard error), one JSON object a line.

    Args:
        level: the lowest level that is written, as in `logging`.
        stream: where the lines go.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(traceback_of),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of what its callers are told by exceptions
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
