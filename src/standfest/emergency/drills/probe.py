"""When are database writes back? A probe that commits to whatever server is primary, apart from the order plane."""

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from standfest.emergency.drills.faults import FaultFailed

CONNECT_TIMEOUT_S = 2
"""The shortest that libpq takes, for one address."""
PAUSE_S = 0.05
HANGS_AFTER_S = 7.0
"""An attempt that takes longer has found a server (three addresses at most, see above) and waits in its commit."""
MARK = "standfest.drill"

IDENTITY = """
SELECT host(inet_server_addr()) AS address, pg_postmaster_start_time() AS started_at,
       ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline
"""
WRITE = "SELECT pg_logical_emit_message(true, %s, '')"
"""WAL that changes nothing; its commit waits for the standby as an order's does."""


@dataclass(frozen=True)
class Primary:
    """One life of one server as primary."""

    address: str
    started_at: datetime
    timeline: int


@dataclass(frozen=True)
class WritesBack:
    """The first durable commit after a fault."""

    primary: Primary
    at: float
    """Seconds, CLOCK_MONOTONIC."""


def primary_now(conninfo: str) -> Primary:
    """The primary that this connection string leads to, after it has taken a durable commit; psycopg.Error."""
    with psycopg.connect(
        conninfo,
        connect_timeout=CONNECT_TIMEOUT_S,
        target_session_attrs="read-write",
        application_name="standfest-drill",
        autocommit=True,
    ) as connection:
        connection.execute(WRITE, (MARK,))
        [primary] = connection.cursor(row_factory=class_row(Primary)).execute(IDENTITY).fetchall()
        return primary


async def writes_back(conninfo: str, gone: Primary, timeout_s: float) -> WritesBack:
    """Waits for the first durable commit on a primary that is not `gone`; FaultFailed after the timeout."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[WritesBack] = loop.create_future()
    attempt = _Attempts(conninfo, gone, time.monotonic() + timeout_s)

    def work() -> None:
        result = attempt.run()
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(_settle, found, result)

    # Not a task: a commit that waits for a standby is never cancelled. The thread ends with the process.
    threading.Thread(target=work, name="write-probe", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            return await found
    except TimeoutError:
        raise FaultFailed(
            f"no database write within {timeout_s:.0f} s after the fault ({attempt.reason}): see `standfest doctor`"
        ) from None


class _Attempts:
    """Tries again and again, in a thread of its own, until the deadline."""

    def __init__(self, conninfo: str, gone: Primary, deadline: float) -> None:
        self._conninfo = conninfo
        self._gone = gone
        self._deadline = deadline
        self._last_error = ""
        self._started_at = 0.0

    @property
    def reason(self) -> str:
        """Why there is no commit elsewhere until now."""
        if not self._last_error or time.monotonic() - self._started_at > HANGS_AFTER_S:
            return "a commit is waiting for its standby"
        return self._last_error

    def run(self) -> WritesBack | None:
        """The first commit elsewhere, or None at the deadline."""
        while time.monotonic() < self._deadline:
            self._started_at = time.monotonic()
            try:
                primary = primary_now(self._conninfo)
                at = time.monotonic()
            except psycopg.Error as error:
                self._last_error = " ".join(str(error).split())
                time.sleep(PAUSE_S)
                continue
            if primary != self._gone:
                return WritesBack(primary, at)
            self._last_error = "the primary that was to fail still takes writes"
            time.sleep(PAUSE_S)
        return None


def _settle(found: "asyncio.Future[WritesBack]", result: WritesBack | None) -> None:
    if result is not None and not found.done():
        found.set_result(result)
