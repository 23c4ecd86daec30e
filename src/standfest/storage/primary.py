"""Finding the primary: one search at a time, however many callers wait for it."""

import asyncio
import time

from standfest.storage.connection import Connection, DatabaseSettings, Host
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable, TooManyConnections
from standfest.storage.promptness import Promptness

_PROBE_TIMEOUT_S = 1.0
_SEARCH_S = 3.0  # after it, who still waits begins another one
_PAUSE_S = 0.1  # between two questions to one node
_GRACE_S = 0.25  # for another primary than the one that just failed


class PrimaryFinder:
    """Knows which node is the primary, and looks again once somebody suspects it."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._suspected: Host | None = None
        self._search: asyncio.Task[None] | None = None
        self._lost_at: float | None = None
        self.host: Host | None = None
        """The primary, or None while it is not known."""
        self.committed_at = 0.0
        """When this process last committed durably, over whichever pool, in the event loop's seconds."""
        self.promptness = Promptness()
        """Of durable commits of this process, over whichever pool."""

    @property
    def lost_for_s(self) -> float:
        """Seconds for which the primary has been looked for; 0 while it is known."""
        return 0.0 if self._lost_at is None or self.host is not None else time.monotonic() - self._lost_at

    def suspect(self, host: Host) -> None:
        """Says that `host` failed as a primary: nobody is sent there before it answered again."""
        if self.host == host:
            self.host = None
            self._suspected = host
            self._lost_at = time.monotonic()

    async def primary(self, deadline: Deadline) -> Host:
        """The node that is the primary, waiting for it where it is not known.

        Raises:
            DatabaseUnavailable: no node answered as a primary before the deadline.
        """
        if self.host is None and self._lost_at is None:
            self._lost_at = time.monotonic()
        while self.host is None and not deadline.passed:
            if self._search is None or self._search.done():
                self._search = asyncio.create_task(self._look())
            await asyncio.wait({self._search}, timeout=deadline.remaining_s)
            if self._search.done():
                self._search.result()
        if self.host is None:
            self.promptness.failed(time.monotonic())
            raise DatabaseUnavailable("no PostgreSQL node answered as the primary; see `standfest status`")
        return self.host

    async def connect(self, host: Host, settings: DatabaseSettings, deadline: Deadline) -> Connection:
        """A fresh connection to what was found to be the primary, with the settings of the pool that it is for.

        Raises:
            TooManyConnections: it is there, and has no connection left for us.
            DatabaseUnavailable: it does not answer in time, refuses, or is the primary no more.
        """
        try:
            connection = await Connection.open(host, settings, deadline.remaining_s)
        except TooManyConnections:
            raise
        except DatabaseUnavailable:
            self.suspect(host)
            raise
        if not connection.on_primary:
            connection.pgconn.finish()
            self.suspect(host)
            raise DatabaseUnavailable(f"PostgreSQL at {host} is a standby now")
        return connection

    async def close(self) -> None:
        """Ends a search that is under way."""
        if self._search is not None:
            self._search.cancel()
            await asyncio.wait({self._search})

    async def _look(self) -> None:
        """Asks every node again and again, each for itself: one that hangs holds up nobody."""
        asking = {asyncio.create_task(self._until_primary(host)) for host in self._settings.hosts}
        end = Deadline.after(_SEARCH_S)
        found: Host | None = None
        try:
            while asking and not end.passed and found in (None, self._suspected):
                done, asking = await asyncio.wait(asking, timeout=end.remaining_s, return_when=asyncio.FIRST_COMPLETED)
                answered = {task.result() for task in done} | ({found} if found else set())
                if answered and found is None:
                    end = Deadline.after(min(_GRACE_S, end.remaining_s))
                # Where two say at the same moment that they are it, the one that failed is not taken.
                found = min(answered, key=lambda host: host == self._suspected, default=None)
        finally:
            for task in asking:
                task.cancel()
        self.host, self._suspected = found, None

    async def _until_primary(self, host: Host) -> Host:
        """Returns once the node answers as a primary. One connection is asked again and again: to make one is dear."""
        while True:
            try:
                connection = await Connection.open(host, self._settings, _PROBE_TIMEOUT_S)
                try:
                    while not connection.on_primary:
                        await asyncio.sleep(_PAUSE_S)
                        await connection.ask(_PROBE_TIMEOUT_S)
                finally:
                    connection.pgconn.finish()
            except DatabaseUnavailable:
                await asyncio.sleep(_PAUSE_S)  # it may answer next time; who waits is told at its own deadline
            else:
                return host
