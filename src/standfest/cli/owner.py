"""Connections of the role that owns the schema: for commands that keep clients and their keys."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from standfest.errors import StandfestError
from standfest.storage.abandon import socket_closed_at
from standfest.storage.durability import SYNC_WAIT_CUT_SHORT

_DEADLINE_S = 15.0


class ClientsUnreachable(StandfestError):
    """The database that keeps clients and keys did not answer, or did not say yes."""


@contextmanager
def owner_connection(conninfo: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that is given up after a while; what was done in the block is on a standby when it ends.

    `conninfo` is a libpq connection string of the owner's to the primary, with a connect_timeout.

    Raises:
        ClientsUnreachable: no answer, or a commit that did not wait for the standby.
    """
    cut_short = False

    def notice(diagnostic: psycopg.errors.Diagnostic) -> None:
        nonlocal cut_short
        cut_short = cut_short or diagnostic.sqlstate == SYNC_WAIT_CUT_SHORT

    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.add_notice_handler(notice)
            with socket_closed_at(connection, time.monotonic() + _DEADLINE_S):
                yield connection
    except psycopg.OperationalError as error:
        raise ClientsUnreachable(
            "no answer from the database; see `standfest status`, then look with `standfest client list` what was done"
        ) from error
    if cut_short:
        raise ClientsUnreachable(
            "the change may be on one node only; see `standfest status`, then revoke the key and add another"
        )
