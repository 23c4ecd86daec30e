"""This process's connections to the primary, and the ways to use one: read with proof, glance, and write durably."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator

import msgspec
import psycopg
import structlog
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult

from standfest.errors import StandfestError
from standfest.storage.connection import Connection, DatabaseSettings, Host
from standfest.storage.deadline import Deadline
from standfest.storage.durability import names_a_standby
from standfest.storage.errors import (
    DatabaseUnavailable,
    LockTimeout,
    NoStandby,
    OutcomeUnknown,
    PoolBusy,
    StatementFailed,
    TryAgain,
)
from standfest.storage.exchange import Step
from standfest.storage.primary import PrimaryFinder
from standfest.storage.proof import PATIENCE_MAX_S, Prover, Reign
from standfest.storage.statements import statement

ATTEMPT_MIN_S = 0.5
"""With less time left nothing is begun: it would be abandoned half-way, which costs more than it brings."""

LOST_S = 0.5
"""Nobody waits for a primary that has not been found for so long, while another one waits for it."""

_LOOK_S = 0.05  # pauses between two looks at how long a database has been silent
_AWAY = ("25006", "57P", "53", "08")  # read only, shut down or starting, no resources, connection
_NO_NAME = "no synchronous standby is named: a commit would be on one node only"
_LOCK_NOT_AVAILABLE = "55P03"
_LOCK_SUSPECT_S = 1.0
"""A lock that was waited for as long as this, while nothing was committed, makes the primary suspect."""
_TRY_AGAIN = ("40", "55P03", "57014")  # rolled back for the sake of another; lock not available; cancelled


_OF_THE_DATA = ("21", "22", "23", "44", "54")  # what was sent is wrong: other data would have been written

BEGIN: Step = (b"BEGIN", {})
BARRIER: Step = (statement("barrier"), {})
ROLLBACK: Step = (b"ROLLBACK", {})
_BEGIN_READ: Step = (b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", {})
_REIGN: Step = (statement("reign"), {})
_COMMIT: Step = (b"COMMIT", {})
_NAMES: Step = (b"SHOW synchronous_standby_names", {})

_log = structlog.get_logger(__name__)


class Database:
    """A bounded pool of connections that goes where the primary is."""

    def __init__(
        self, settings: DatabaseSettings, finder: PrimaryFinder | None = None, prover: Prover | None = None
    ) -> None:
        """`finder`, `prover`: another pool's, so that what one learns of the primary both know."""
        self._settings = settings
        self._finder = finder or PrimaryFinder(settings)
        self._prover = prover or _prover(settings, self._finder)
        self._idle: deque[Connection] = deque()
        self._slots = asyncio.Semaphore(settings.connections_max)
        self._waiting = 0
        self._in_use: set[Connection] = set()

    def beside(self, connections_max: int, lock_timeout_ms: int | None = None) -> "Database":
        """Another pool to the same primary, so that neither waits for the other's connections.

        `lock_timeout_ms`: how long its sessions wait for a lock; None: as long as those of this one.
        """
        settings = msgspec.structs.replace(
            self._settings,
            connections_max=connections_max,
            lock_timeout_ms=lock_timeout_ms or self._settings.lock_timeout_ms,
        )
        return Database(settings, self._finder, self._prover)

    @property
    def committed_s_ago(self) -> float:
        """Seconds since anything was committed durably by this process."""
        return asyncio.get_running_loop().time() - self._finder.committed_at

    @property
    def given_up(self) -> bool:
        """Whether no durable commit of this process was prompt for so long that another one is no use."""
        return self._finder.promptness.given_up(time.monotonic())

    @property
    def primary(self) -> str | None:
        """Address of the primary as last seen, or None while it is not known."""
        return self._finder.host.address if self._finder.host else None

    async def close(self) -> None:
        """Closes every connection; work that is under way fails."""
        await self._prover.close()
        await self._finder.close()
        for connection in self._in_use:
            connection.abandon()
        while self._idle:
            self._idle.pop().pgconn.finish()

    @contextlib.asynccontextmanager
    async def read(self, deadline_s: float) -> AsyncIterator[Connection]:
        """A read-only transaction with one snapshot, at most `deadline_s` seconds long, proven when the block ends.

        The proof (see `storage/proof.py`) says that this was the primary still and that all it showed is on a standby
        too. So nothing that was read may be used before the block has ended, and nothing where it raises. An error of
        ours that the block raises rests on what was read, and is raised once that is proven.

        Raises:
            DatabaseUnavailable: no primary, no answer in time, or no proof.
        """
        deadline = Deadline.after(deadline_s)
        with self._prover.admitted(lost=self._finder.lost_for_s > LOST_S):
            async with self.connection(deadline) as connection:
                _, started = await connection.exchange.run(_BEGIN_READ, _REIGN)
                proof = self._prover.ask()
                with _concluding() as concluded:
                    yield connection
                await connection.execute("COMMIT")
            await self._prover.require(proof, Reign(connection.host, started.get_value(0, 0)), deadline)
        for error in concluded:
            raise error

    @contextlib.asynccontextmanager
    async def glance(self, deadline_s: float) -> AsyncIterator[Connection]:
        """A read-only transaction with one snapshot that decides nothing: what it shows may be lost or long past.

        Raises:
            DatabaseUnavailable: no primary, or it did not answer in time.
        """
        async with self.connection(Deadline.after(deadline_s)) as connection:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
            await connection.execute("COMMIT")

    @contextlib.asynccontextmanager
    async def write(self, within: float | Deadline) -> AsyncIterator[Connection]:
        """A transaction on the primary that is committed on a named standby when the block ends.

        An error of ours that the block raises (a refusal) rests on what was read. The transaction is rolled back, and
        the error is raised once a later commit on the same connection has proven that, as for `read`.

        Args:
            within: seconds from now, or the deadline of the request that it is for. It is looked at right before the
                transaction is begun and right before its commit is sent.

        Raises:
            DatabaseUnavailable: nothing was changed; also where an error of the block is not proven.
            OutcomeUnknown: the commit was sent, and no durable yes came back.
        """
        deadline = within if isinstance(within, Deadline) else Deadline.after(within)
        concluded: list[StandfestError] = []
        try:
            async with self.connection(deadline) as connection:
                await connection.execute("BEGIN")
                with _concluding() as concluded:
                    yield connection
                if concluded:
                    await connection.exchange.run(ROLLBACK, BEGIN)
                (barrier,) = await connection.exchange.run(BARRIER)
                await commit(connection, deadline, barrier)
        except OutcomeUnknown as error:
            if not concluded:
                raise
            raise DatabaseUnavailable(f"nothing was changed, and why is not proven: {error}") from error
        for conclusion in concluded:
            raise conclusion

    @contextlib.asynccontextmanager
    async def connection(self, deadline: Deadline, silence_max_s: float | None = None) -> AsyncIterator[Connection]:
        """A connection in autocommit mode that is abandoned when the deadline passes.

        Whatever transaction is left open when the block ends is rolled back.

        Args:
            deadline: nothing is sent after it.
            silence_max_s: it is abandoned after so many seconds already in which nothing was committed by this
                process: a database that is only slow goes on committing for others. Seconds in which this process was
                late itself do not count. Getting a connection has as long.

        Raises:
            DatabaseUnavailable: no connection, or it failed before a commit was sent.
            TryAgain, StatementFailed: the same, and it says nothing about the database as a whole.
            OutcomeUnknown: as raised by `commit` in the block.
            psycopg.Error: what was sent is wrong (SQLSTATE classes 21, 22, 23, 44, 54), or could not be encoded.
        """
        patience_s = deadline.remaining_s if silence_max_s is None else min(silence_max_s, deadline.remaining_s)
        connection = await self._take(Deadline.after(patience_s))
        connection.committed_durably = False
        clock = asyncio.get_running_loop()
        taken_at = looked_at = clock.time()
        silent_s = 0.0

        def look_again() -> asyncio.TimerHandle:
            seconds = min(_LOOK_S, patience_s - silent_s, deadline.remaining_s)
            return clock.call_later(max(seconds, 0), lambda: look())  # noqa: PLW0108 - it is defined below

        alarm = look_again()

        def look() -> None:
            """Counts the silence. While this process was late itself, an answer may have been there unread."""
            nonlocal alarm, looked_at, silent_s
            now = clock.time()
            silent_s = min(silent_s + min(now - looked_at, 2 * _LOOK_S), now - max(taken_at, self._finder.committed_at))
            looked_at = now
            if deadline.passed or silent_s >= patience_s:
                connection.abandon()
            else:
                alarm = look_again()

        try:
            if deadline.passed:
                raise DatabaseUnavailable("the deadline passed before anything was sent")
            yield connection
            if connection.committed_durably:
                self._finder.committed_at = clock.time()
                self._finder.promptness.answered(self._finder.committed_at - taken_at, time.monotonic())
        except psycopg.Error as error:
            if connection.broken or connection.closed or _means_away(error):
                self._lose(connection, taken_at)
                cause = "no answer before the deadline" if connection.abandoned else _first_line(error)
                raise DatabaseUnavailable(f"the database went away: {cause}") from error
            if error.sqlstate and error.sqlstate.startswith(_TRY_AGAIN):
                if error.sqlstate == _LOCK_NOT_AVAILABLE:
                    if self._finder.committed_at < taken_at < clock.time() - _LOCK_SUSPECT_S:
                        # Who holds it may wait for a standby that has long followed another primary.
                        self._finder.suspect(connection.host)
                    raise LockTimeout(f"somebody holds a lock, try again: {_first_line(error)}") from error
                raise TryAgain(f"the database asks to try again: {_first_line(error)}") from error
            if error.sqlstate and not error.sqlstate.startswith(_OF_THE_DATA):
                _log.error("statement_failed", sqlstate=error.sqlstate, error=_first_line(error))
                raise StatementFailed(f"the database failed: {_first_line(error)}", error.sqlstate) from error
            raise
        except (OutcomeUnknown, NoStandby):
            self._lose(connection, taken_at)
            raise
        finally:
            alarm.cancel()
            await self._give_back(connection)

    async def _take(self, deadline: Deadline) -> Connection:
        if self._waiting >= self._settings.waiting_max:
            raise PoolBusy(f"{self._waiting} callers already wait for a database connection")
        self._waiting += 1
        try:
            async with asyncio.timeout(max(deadline.remaining_s - ATTEMPT_MIN_S, 0)):
                await self._slots.acquire()
        except TimeoutError:
            raise PoolBusy("no database connection became free in time") from None
        finally:
            self._waiting -= 1
        try:
            host = await self._finder.primary(deadline)
            connection = self._usable_idle(host) or await self._finder.connect(host, self._settings, deadline)
        except BaseException:
            self._slots.release()
            raise
        self._in_use.add(connection)
        return connection

    def _usable_idle(self, primary: Host) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - self._settings.connection_life_s
        while self._idle:
            connection = self._idle.pop()
            if connection.host == primary and connection.opened_at > oldest and not connection.closed:
                return connection
            connection.pgconn.finish()
        return None

    def _lose(self, connection: Connection, taken_at: float) -> None:
        """Closes the connection, and looks for the primary again unless it is only slow.

        A node on which somebody else committed meanwhile is slow: to leave it, and to connect anew, would make
        it slower. That it answers reads says nothing: so does a primary that was replaced and does not know.
        """
        connection.pgconn.finish()
        self._finder.promptness.failed(time.monotonic())
        if connection.abandoned and self._finder.committed_at >= taken_at:
            return
        self._finder.suspect(connection.host)
        while self._idle:
            self._idle.pop().pgconn.finish()

    async def _give_back(self, connection: Connection) -> None:
        self._in_use.discard(connection)
        try:
            if (
                not (connection.closed or connection.abandoned)
                and connection.info.transaction_status != TransactionStatus.IDLE
            ):
                await self._roll_back(connection)
        finally:
            # An abandoned connection looks open until it is read from.
            if connection.closed or connection.abandoned:
                connection.pgconn.finish()
            else:
                self._idle.append(connection)
            self._slots.release()

    async def _roll_back(self, connection: Connection) -> None:
        alarm = asyncio.get_running_loop().call_later(1.0, connection.abandon)
        try:
            await connection.exchange.run(ROLLBACK)
        except psycopg.Error:
            connection.pgconn.finish()  # the server rolls back by itself once the connection is gone
        finally:
            alarm.cancel()


def _prover(settings: DatabaseSettings, finder: PrimaryFinder) -> Prover:
    """Proves by commits over a connection of its own: those in the pools may be held by reads that wait."""
    pool: Database | None = None

    async def commit_barrier(silence_max_s: float) -> Reign:
        nonlocal pool
        if pool is None:
            pool = Database(msgspec.structs.replace(settings, connections_max=1), finder, prover)
        deadline = Deadline.after(PATIENCE_MAX_S)
        async with pool.connection(deadline, silence_max_s) as connection:
            _, barrier, started = await connection.exchange.run(BEGIN, BARRIER, _REIGN)
            await commit(connection, deadline, barrier)
            return Reign(connection.host, started.get_value(0, 0))

    async def close() -> None:
        if pool is not None:
            await pool.close()

    prover = Prover(commit_barrier, close)
    return prover


@contextlib.contextmanager
def _concluding() -> Iterator[list[StandfestError]]:
    """Keeps an error of ours that the block raises: it rests on what was read, and is raised once that is proven.

    That the database is away, or that an outcome is not known, rests on nothing that was read.
    """
    concluded: list[StandfestError] = []
    try:
        yield concluded
    except (DatabaseUnavailable, OutcomeUnknown):
        raise
    except StandfestError as error:
        concluded.append(error)


async def commit(connection: Connection, deadline: Deadline, barrier: PGresult) -> None:
    """Commits a transaction, and makes sure that a named standby has it.

    `barrier`: what BARRIER was answered in the transaction.

    Raises:
        DatabaseUnavailable: nothing was sent; the caller's transaction is still open and will be rolled back.
        OutcomeUnknown: the commit was sent, and no durable yes came back.
    """
    _require_named_standby(barrier)
    if deadline.passed:
        raise DatabaseUnavailable("the deadline passed before the commit was sent")
    connection.sync_wait_cut_short = connection.committed_durably = False
    try:
        committed, names = await connection.exchange.run(_COMMIT, _NAMES)
        if committed.command_status != b"COMMIT":
            raise OutcomeUnknown(f"the commit was answered with {committed.command_status!r}")
        _require_names(names.get_value(0, 0))
    except (psycopg.Error, DatabaseUnavailable) as error:
        raise OutcomeUnknown(f"no answer to the commit: {_first_line(error)}") from error
    if connection.sync_wait_cut_short:
        raise OutcomeUnknown("the wait for the standby was cut short: the commit may be on one node only")
    connection.committed_durably = True


def _require_named_standby(barrier: PGresult) -> None:
    """Refuses to go on where commits do not wait for a standby that is named, or nobody is there to answer them.

    A commit that nobody answers cannot be taken back: its back end waits on after it was abandoned.

    Raises:
        NoStandby: `synchronous_standby_names` is empty or `*`, or nobody receives WAL.
    """
    _require_names(barrier.get_value(0, 1))
    if barrier.get_value(0, 2) != b"t":
        raise NoStandby("no standby is connected: a commit would be answered by nobody")


def _require_names(names: bytes | None) -> None:
    if names is None or not names_a_standby(names.decode()):
        raise NoStandby(_NO_NAME)


def _means_away(error: psycopg.Error) -> bool:
    return error.sqlstate is not None and error.sqlstate.startswith(_AWAY)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
