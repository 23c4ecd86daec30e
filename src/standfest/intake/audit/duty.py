"""Which node's auditor looks at the database's orders: one at a time, whoever holds a lock in the database."""

import asyncio
import time

import psycopg
import structlog

from standfest.storage.connection import Connection
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable
from standfest.telemetry.failures import facts_of

_LOCK = 0x5374_616E_6466_4175
"""Key of the advisory lock, this program's own: "StandfAu" in ASCII."""
_TERM_S = 540.0
"""Then the lock is given back, so that its connection is renewed."""
_CHECK_S = 2.0
_ANSWER_S = 2.0
_TRY_AGAIN_S = 3.0
_PRIMARY_S = 0.5

_log = structlog.get_logger(__name__)


class Duty:
    """A session's advisory lock on a connection of its own: it ends with the connection, however that ends.

    For a moment two may hold it, where a node was cut off: they look at the same orders, which costs and harms nothing.
    """

    def __init__(self, database: Database) -> None:
        """`database`: a pool of one connection, for this alone. Another one beside it finds the primary."""
        self._database = database
        self.held = False
        """Whether this process looks at the orders."""
        self.elsewhere = False
        """Whether another process held the lock when it was last asked for."""
        self.known_at = time.monotonic()
        """When it was last known that some process does; monotonic seconds."""
        self._taken_at, self._held_before_s = 0.0, 0.0

    @property
    def held_s(self) -> float:
        """Seconds for which this process has held the lock, all terms together: a clock that stands between them."""
        return self._held_before_s + (time.monotonic() - self._taken_at if self.held else 0.0)

    async def run(self) -> None:
        """Takes the lock whenever it is free, until cancelled."""
        while True:
            if self._database.primary is None:  # to ask for a connection would be to search for it all the time
                await asyncio.sleep(_PRIMARY_S)
                continue
            try:
                async with self._database.connection(Deadline.after(_TERM_S + _CHECK_S + _ANSWER_S)) as connection:
                    await self._serve(connection)
            except (DatabaseUnavailable, psycopg.Error) as error:
                _log.debug("audit_duty_not_known", **facts_of(error))
            await asyncio.sleep(_TRY_AGAIN_S)

    async def _serve(self, connection: Connection) -> None:
        """Holds the lock, if it is free, for a term."""
        free = await _ask(connection, "SELECT pg_try_advisory_lock(%s)")
        self.known_at = time.monotonic()
        self.elsewhere = not free
        if not free:
            return
        term = Deadline.after(_TERM_S)
        self._taken_at, self.held = time.monotonic(), True
        _log.info("audit_duty_taken")
        try:
            while not term.passed:
                await asyncio.sleep(_CHECK_S)
                await _ask(connection, "SELECT %s::bigint IS NOT NULL")  # so that a lost connection is noticed
                self.known_at = time.monotonic()
            await _ask(connection, "SELECT pg_advisory_unlock(%s)")
        except BaseException:
            connection.abandon()  # never back into the pool with the lock
            raise
        finally:
            self._held_before_s, self.held = self.held_s, False


class Done:
    """When a part of the duty was last done, by the duty's clock: terms of other nodes neither count nor excuse."""

    def __init__(self, duty: Duty) -> None:
        self._duty = duty
        self._at_s = 0.0

    def now(self) -> None:
        """Notes that it was done."""
        self._at_s = self._duty.held_s

    @property
    def age_s(self) -> float | None:
        """Seconds with the duty since then; None while this process does not have it."""
        return self._duty.held_s - self._at_s if self._duty.held else None


async def _ask(connection: Connection, question: str) -> bool:
    """What the server answers to a question about the lock; the connection is given up where it does not."""
    alarm = asyncio.get_running_loop().call_later(_ANSWER_S, connection.abandon)
    try:
        cursor = await connection.execute(question.encode(), (_LOCK,))
        row = await cursor.fetchone()
    finally:
        alarm.cancel()
    return row is not None and bool(row[0])
