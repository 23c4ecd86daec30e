"""The proof that what was read counts: a commit that is on a named standby, sent after the snapshot was taken.

Whatever a snapshot shows was committed before it was taken, so its WAL lies before that of a commit sent later. Once a
named standby has acknowledged the later commit, it has all that the snapshot shows, and the server was the primary
still when the snapshot was taken. A server that was replaced answers reads for ever, and no commits.

One commit proves all reads whose snapshots were taken before it was sent, so who reads at the same time shares one. At
most one is under way in a process: where no standby answers, each that is given up leaves a back end waiting in the
server, and those count against the role's connections.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import psycopg
import structlog

from standfest.errors import StandfestError
from standfest.storage.connection import Host
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable
from standfest.telemetry.failures import facts_of

PATIENCE_FIRST_S, PATIENCE_MAX_S = 2.0, 4.0
"""Seconds that a commit waits for its standby: more after each that failed, so that a slow one gets through as well."""
_PATIENCE_COMMITS = 4  # a commit may take so many times as long as the last one
_ATTEMPTS = 2  # the first one may meet a connection that was broken long ago


class Reign(NamedTuple):
    """A server from one start to the next. A primary becomes a standby only by a start of its own."""

    host: Host
    started: bytes | None
    """When it was started, in seconds since 1970."""


Outcome = Reign | Exception
"""Where the commit was made, or why none was."""
_ENDING = DatabaseUnavailable("this process ends its connections")
_log = structlog.get_logger(__name__)


class Prover:
    """Commits for all who ask, one commit at a time."""

    def __init__(self, commit: Callable[[float], Awaitable[Reign]], close: Callable[[], Awaitable[None]]) -> None:
        """
        Args:
            commit: makes one durable commit, for which it waits so many seconds.
            close: ends what `commit` holds.
        """
        self._commit = commit
        self._close = close
        self._next: asyncio.Future[Outcome] | None = None
        self._rounds: asyncio.Task[None] | None = None
        self._patience_s = PATIENCE_FIRST_S
        self._reads = 0
        self._failed = False

    @contextlib.contextmanager
    def admitted(self, lost: bool) -> Iterator[None]:
        """For the length of one read. While the database is known to be away one read at a time finds out more.

        Args:
            lost: nobody has found a primary for a while.

        Raises:
            DatabaseUnavailable: it is away, and another read finds out; nothing was tried.
        """
        if self._reads and (lost or self._failed):
            raise DatabaseUnavailable("the database is away: nothing that is read can be proven to hold")
        self._reads += 1
        try:
            yield
        finally:
            self._reads -= 1

    def ask(self) -> "asyncio.Future[Outcome]":
        """The outcome of a commit that is sent after this call. It never raises, and goes on where nobody waits."""
        asked = self._next
        if asked is None:
            asked = self._next = asyncio.get_running_loop().create_future()
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._run())
        return asked

    async def require(self, asked: "asyncio.Future[Outcome]", reign: Reign, deadline: Deadline) -> None:
        """Waits for the commit, which has to be made where `reign` was read.

        Raises:
            DatabaseUnavailable: there is no proof, and what was read must not be used.
        """
        await asyncio.wait({asked}, timeout=max(deadline.remaining_s, 0))
        if not asked.done():
            raise DatabaseUnavailable("what was read is not proven: no standby answered before the deadline")
        outcome = asked.result()
        if isinstance(outcome, Exception):
            raise DatabaseUnavailable(f"what was read is not proven: {outcome}") from outcome
        if outcome != reign:
            raise DatabaseUnavailable(f"what was read is not proven: {reign.host} is the primary no more")

    async def close(self) -> None:
        """Ends the commit that is under way; who waits for it has no proof."""
        rounds, self._rounds = self._rounds, None
        asked, self._next = self._next, None
        if asked is not None:
            asked.set_result(_ENDING)
        if rounds is not None:
            rounds.cancel()
            await asyncio.wait({rounds})
            await self._close()

    async def _run(self) -> None:
        while self._next is not None:
            asked, self._next = self._next, None
            outcome: Outcome = _ENDING
            try:
                outcome = await self._outcome()
            finally:
                asked.set_result(outcome)

    async def _outcome(self) -> Outcome:
        began = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            patience_s = self._patience_s - (time.monotonic() - began)
            try:
                reign = await self._commit(patience_s)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who ask are told
                failure = error
                if not isinstance(error, (StandfestError, psycopg.Error)):
                    _log.error("proof_failed", **facts_of(error), exc_info=error)
                if attempt == _ATTEMPTS or time.monotonic() - began > self._patience_s / 2:
                    break
            else:
                self._failed = False
                took_s = time.monotonic() - began
                self._patience_s = min(max(_PATIENCE_COMMITS * took_s, PATIENCE_FIRST_S), PATIENCE_MAX_S)
                return reign
        self._failed = True
        self._patience_s = min(2 * self._patience_s, PATIENCE_MAX_S)
        return failure
