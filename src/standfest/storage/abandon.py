"""Leaving a PostgreSQL session at a deadline without a word to the server.

A query is never cancelled on the server: a cancelled wait for the synchronous standby shows rows that are not
replicated. The socket is shut instead, which ends the client's wait within milliseconds; the server finishes, or
gives up, by itself.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg


def shut_socket(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Shut the connection's socket both ways: whoever waits on it gets an OperationalError. Safe to call twice."""
    if connection.closed:
        return
    # No duplicate, for which there may be no descriptor left; and the descriptor stays libpq's to close.
    line = socket.socket(fileno=connection.pgconn.socket)
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # not connected any more: nobody waits on it
    finally:
        line.detach()


@contextmanager
def socket_closed_at(connection: psycopg.Connection[Any], deadline: float) -> Iterator[None]:
    """Within the block, shut a blocking connection's socket at `deadline` (of time.monotonic())."""
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), shut_socket, (connection,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
