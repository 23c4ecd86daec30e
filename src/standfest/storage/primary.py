"""Finding the primary: one search at a time, however many callers wait for it."""

import asyncio
import contextlib

from standfest.storage.connection import Connection, DatabaseSettings, Host
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable

_PROBE_TIMEOUT_S = 3.0  # all nodes are asked at once: one that hangs holds up nobody
_PAUSE_S = 0.1
_GRACE_S = 0.1  # for another primary than the one that just failed


class PrimaryFinder:
    """Knows which node is the primary, and looks again once somebody suspects it."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._suspected: Host | None = None
        self._search: asyncio.Task[None] | None = None
        self.host: Host | None = None
        """The primary, or None while it is not known."""

    def suspect(self, host: Host) -> None:
        """Says that `host` failed as a primary: nobody is sent there before it answered again."""
        if self.host == host:
            self.host = None
            self._suspected = host

    async def primary(self, deadline: Deadline) -> Host:
        """The node that is the primary, waiting for it where it is not known.

        Raises:
            DatabaseUnavailable: no node answered as a primary before the deadline.
        """
        while self.host is None and not deadline.passed:
            if self._search is None or self._search.done():
                self._search = asyncio.create_task(self._look())
            await asyncio.wait({self._search}, timeout=deadline.remaining_s)
            if self._search.done():
                self._search.result()
        if self.host is None:
            raise DatabaseUnavailable("no PostgreSQL node answered as the primary; see `standfest status`")
        return self.host

    async def connect(self, host: Host, deadline: Deadline) -> Connection:
        """A fresh connection to what was found to be the primary.

        Raises:
            DatabaseUnavailable: it does not answer in time, refuses, or is the primary no more.
        """
        try:
            connection = await Connection.open(host, self._settings, deadline.remaining_s)
        except DatabaseUnavailable:
            self.suspect(host)
            raise
        if not connection.on_primary:
            connection.pgconn.finish()
            self.suspect(host)
            raise DatabaseUnavailable(f"PostgreSQL at {host.address}:{host.port} is a standby now")
        return connection

    async def close(self) -> None:
        """Ends a search that is under way."""
        if self._search is not None:
            self._search.cancel()
            await asyncio.wait({self._search})

    async def _look(self) -> None:
        probes = {
            asyncio.create_task(Connection.open(host, self._settings, _PROBE_TIMEOUT_S))
            for host in self._settings.hosts
        }
        end = Deadline.after(_PROBE_TIMEOUT_S)
        fallback: Host | None = None
        try:
            while probes and not end.passed:
                done, probes = await asyncio.wait(probes, timeout=end.remaining_s, return_when=asyncio.FIRST_COMPLETED)
                for host in map(_primary_of, done):
                    if host is not None and host != self._suspected:
                        self.host = host
                        return
                    if host is not None:
                        fallback, end = host, Deadline.after(min(_GRACE_S, end.remaining_s))
        finally:
            for probe in probes:
                probe.add_done_callback(_primary_of_late)
                probe.cancel()
        self.host, self._suspected = fallback, None
        if fallback is None:
            await asyncio.sleep(_PAUSE_S)


def _primary_of(probe: "asyncio.Task[Connection]") -> Host | None:
    """The host that a finished probe found to be the primary; closes its connection."""
    if isinstance(probe.exception(), DatabaseUnavailable):
        return None
    connection = probe.result()
    host = connection.host if connection.on_primary else None
    connection.pgconn.finish()
    return host


def _primary_of_late(probe: "asyncio.Task[Connection]") -> None:
    """Closes what a probe that nobody waits for any more still brought."""
    with contextlib.suppress(asyncio.CancelledError):
        _primary_of(probe)
