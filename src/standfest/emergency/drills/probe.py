"""When are database writes back? A probe that commits to whatever server is primary, apart from the order plane."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row

from standfest.emergency.drills.faults import FaultFailed
from standfest.errors import StandfestError

CONNECT_TIMEOUT_S = 2
"""The shortest that libpq takes, for one address."""
ATTEMPT_EVERY_S = 0.2
"""At most so often: each attempt costs every server a connection, and they are being measured."""
HANGS_AFTER_S = 7.0
"""An attempt that takes longer has found a server (three addresses at most, see above) and waits in its commit."""
MARK = "standfest.drill"
CUT_SHORT = "01000"
"""SQLSTATE of the warning that a commit did not wait for its standby: it is on one node only."""

T = TypeVar("T")

IDENTITY = """
SELECT host(inet_server_addr()) AS address, pg_postmaster_start_time() AS started_at,
       ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline
"""
WRITE = "SELECT pg_logical_emit_message(true, %s, '')"
"""WAL that changes nothing; its commit waits for the standby as an order's does."""


class CommitCutShort(FaultFailed):
    """A commit that is on one node only, as something ended its wait for the standby: it proves no primary."""


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
    """The primary that this connection string leads to, after it has taken a durable commit.

    It waits for ever where the commit does: see `primary_within`. Raises psycopg.Error or CommitCutShort.
    """
    warnings: list[str | None] = []
    with psycopg.connect(
        conninfo,
        connect_timeout=CONNECT_TIMEOUT_S,
        target_session_attrs="read-write",
        application_name="standfest-drill",
        autocommit=True,
    ) as connection:
        connection.add_notice_handler(lambda diagnostic: warnings.append(diagnostic.sqlstate))
        connection.execute(WRITE, (MARK,))
        if CUT_SHORT in warnings:
            raise CommitCutShort("a commit was not waited for until its standby had it: see `standfest doctor`")
        [primary] = connection.cursor(row_factory=class_row(Primary)).execute(IDENTITY).fetchall()
        return primary


def short(error: psycopg.Error) -> str:
    """One line of what the database, or the way there, says: the rest names every address again."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


async def primary_within(conninfo: str, timeout_s: float) -> Primary:
    """What `primary_now` says, or FaultFailed where it has not said it in time, or cannot."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _left_alone(lambda: primary_now(conninfo))
    except TimeoutError:
        raise FaultFailed(f"a commit has waited for its standby for {timeout_s:.0f} s") from None
    except psycopg.Error as error:
        raise FaultFailed(short(error)) from error


def without(conninfo: str, address: str) -> str:
    """The connection string less the server at this address."""
    given = conninfo_to_dict(conninfo)
    hosts, ports = (str(given[name]).split(",") for name in ("host", "port"))
    kept = [(host, port) for host, port in zip(hosts, ports * len(hosts), strict=False) if host != address]
    left = {"host": ",".join(host for host, _ in kept), "port": ",".join(port for _, port in kept)}
    return make_conninfo("", **{**given, **left})


async def writes_back(conninfo: str, gone: Primary | None, timeout_s: float) -> WritesBack:
    """Waits for the first durable commit on a primary that is not `gone`; FaultFailed after the timeout."""
    attempt = _Attempts(conninfo, gone, time.monotonic() + timeout_s)
    back: WritesBack | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            back = await _left_alone(attempt.run)
    if back is None:
        raise FaultFailed(
            f"no database write within {timeout_s:.0f} s after the fault ({attempt.reason}): see `standfest doctor`"
        )
    return back


async def _left_alone(work: Callable[[], T]) -> T:
    """Does the work in a thread that nobody waits for any more where this is cancelled.

    Not `to_thread`: a commit that waits for a standby is never cancelled, and must not hold up the end of the process.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # from here on a cancelled wait leaves it as it is

    def run() -> None:
        try:
            outcome.set_result(work())
        except (psycopg.Error, StandfestError) as error:
            outcome.set_exception(error)
        except BaseException as error:
            outcome.set_exception(error)
            raise

    threading.Thread(target=run, name="write-probe", daemon=True).start()
    return await asyncio.wrap_future(outcome)


class _Attempts:
    """Tries again and again, in a thread of its own, until the deadline."""

    def __init__(self, conninfo: str, gone: Primary | None, deadline: float) -> None:
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
            except (CommitCutShort, psycopg.Error) as error:
                self._last_error = short(error) if isinstance(error, psycopg.Error) else str(error)
            else:
                if primary != self._gone:
                    return WritesBack(primary, at)
                self._last_error = "the primary that was to fail still takes writes"
            time.sleep(max(0.0, self._started_at + ATTEMPT_EVERY_S - time.monotonic()))
        return None
