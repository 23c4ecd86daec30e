"""One connection to one PostgreSQL node, which can be abandoned and never cancels on the server.

A cancelled wait for the standby makes rows visible that are not replicated (PostgreSQL, "Synchronous
Replication"), so a query that takes too long is abandoned: its socket is shut down, which fails the
waiting call at once, and the server finds out by itself.
"""

import asyncio
from typing import Self

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from standfest.storage.abandon import shut_socket
from standfest.storage.arrays import ArrayDumper
from standfest.storage.durability import SYNC_WAIT_CUT_SHORT
from standfest.storage.errors import DatabaseUnavailable, TooManyConnections
from standfest.storage.exchange import Exchange
from standfest.storage.libpq import connect

_CONNECT_S = 2.0
_TCP_USER_TIMEOUT_MS = 3_000
# A refused connection has no SQLSTATE (libpq gives its text only); these are those of 53300.
_FULL = ("too many connections", "too many clients", "remaining connection slots")
_SESSION = {
    # What was abandoned gives its place in the queue for a lock away; a process that is frozen between two
    # statements holds no stock for longer than others wait for it. Neither ends a wait for the standby.
    "client_connection_check_interval": "500ms",
    "idle_in_transaction_session_timeout": "2s",
}


class Host(msgspec.Struct, frozen=True):
    """Where a PostgreSQL node listens."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class DatabaseSettings(msgspec.Struct, frozen=True):
    """How the order plane reaches its database."""

    hosts: tuple[Host, ...]
    """All nodes; which of them is the primary is found out."""
    name: str
    user: str
    password: str
    connections_max: int = 8
    """A process holds at most so many."""
    waiting_max: int = 256
    """So many callers may wait for a connection; more are turned away at once."""
    connection_life_s: float = 600.0
    """A connection older than this is replaced."""

    lock_timeout_ms: int = 2_000
    """A wait for a lock ends by itself after this, and leaves a connection that can be used again."""

    def __repr__(self) -> str:
        return f"DatabaseSettings({self.user}@{self.name} on {len(self.hosts)} hosts)"


def _session(settings: DatabaseSettings) -> dict[str, str]:
    return _SESSION | {"lock_timeout": f"{settings.lock_timeout_ms}ms"}


class Connection(AsyncConnection[TupleRow]):
    """A connection that is abandoned instead of cancelled, and remembers a cut short wait for the standby."""

    opened_at: float = 0.0
    host: Host
    sync_wait_cut_short = False
    committed_durably = False
    """Its last transaction is on a named standby."""
    abandoned = False
    exchange: Exchange
    """The quick way for statements that go together."""

    def abandon(self) -> None:
        """Shuts the socket down: whoever waits on it fails at once. Nothing is sent to the server."""
        self.abandoned = True
        shut_socket(self)

    async def cancel_safe(self, *, timeout: float = 0.0) -> None:
        """Abandons the connection: psycopg asks for a cancel when a task is cancelled in a query."""
        self.abandon()

    def cancel(self) -> None:
        """Abandons the connection."""
        self.abandon()

    @property
    def on_primary(self) -> bool:
        """Whether the node said, last time it spoke, that it takes writes."""
        return self.pgconn.parameter_status(b"in_hot_standby") == b"off"

    async def ask(self, timeout_s: float) -> None:
        """Lets the node speak, so that `on_primary` is what it says now.

        Raises:
            DatabaseUnavailable: it does not answer in time, or the connection is gone.
        """
        alarm = asyncio.get_running_loop().call_later(timeout_s, self.abandon)
        try:
            await self.execute("SELECT")
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"PostgreSQL at {self.host}: {error}") from error
        finally:
            alarm.cancel()

    @classmethod
    async def open(cls, host: Host, settings: DatabaseSettings, timeout_s: float) -> Self:
        """Connects within `timeout_s`.

        Raises:
            DatabaseUnavailable: the node does not answer in time, or refuses.
        """
        try:
            async with asyncio.timeout(min(timeout_s, _CONNECT_S)):
                pgconn = await connect(
                    hostaddr=host.address,
                    port=host.port,
                    dbname=settings.name,
                    user=settings.user,
                    password=settings.password,
                    tcp_user_timeout=_TCP_USER_TIMEOUT_MS,
                    keepalives_idle=5,
                    keepalives_interval=2,
                    keepalives_count=3,
                    sslmode="disable",
                    gssencmode="disable",
                    application_name="standfest",
                    options=" ".join(f"-c {name}={value}" for name, value in _session(settings).items()),
                )
        except TimeoutError:
            raise DatabaseUnavailable(f"PostgreSQL at {host} did not answer in time") from None
        except psycopg.OperationalError as error:
            detail = str(error).strip().replace("\n", " ")
            kind = TooManyConnections if any(words in detail for words in _FULL) else DatabaseUnavailable
            raise kind(f"PostgreSQL at {host}: {detail}") from error
        connection = cls(pgconn)
        try:
            await connection.set_autocommit(True)
        except BaseException:
            pgconn.finish()
            raise
        connection.prepare_threshold = 0  # at once: a connection lives long and says the same few things
        connection.host = host
        connection.exchange = Exchange(connection.pgconn)
        connection.opened_at = asyncio.get_running_loop().time()
        connection.add_notice_handler(connection._notice)
        connection.adapters.register_dumper(list, ArrayDumper)
        return connection

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.sqlstate == SYNC_WAIT_CUT_SHORT:
            self.sync_wait_cut_short = True
