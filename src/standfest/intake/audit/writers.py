"""What this node's API processes say themselves of the receipts that they gave: it does not vanish with the files."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import aiohttp
import msgspec
import structlog

from standfest.intake.audit.faults import Faults
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.runs import BEFORE_END_S, compare_counts
from standfest.intake.audit.windows import Window, Windows
from standfest.intake.receipt_statement import Statement

ASK_S = 1.0
"""Processes are asked so often."""
TIMEOUT_S = 1.5
UNWRITTEN_MAX_S = 10.0
"""A receipt may wait so long to be written."""
SILENT_MAX_S = 60.0
"""A process that lives may say nothing for so long."""
LOST_SHOWN_S = 3_600.0
"""That a process lost receipts is a fault for so long."""
RUNS_MAX = 64

_log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(Statement).decode


class Writers:
    """Asks the API processes of one node."""

    def __init__(
        self,
        session: aiohttp.ClientSession | None,
        addresses: Sequence[str],
        faults: Faults,
        windows: Windows,
    ) -> None:
        """
        Args:
            session: None where `addresses` is empty.
            addresses: of the processes.
            faults: where it goes that receipts are not written, or lost.
            windows: where it goes when they were lost.
        """
        self._session = session
        self._addresses = addresses
        self._faults = faults
        self._statements: dict[str, tuple[Statement, float]] = {}
        self._lost: dict[str, float] = {}
        self._asked_at = 0.0
        self._windows = windows

    @property
    def given(self) -> int:
        """Receipts that the processes that were heard of gave."""
        return sum(statement.given for statement, _ in self._statements.values())

    @property
    def disturbances(self) -> int:
        """How often processes found their open file removed, shortened or replaced."""
        return sum(statement.disturbances for statement, _ in self._statements.values())

    async def ask(self) -> float:
        """Asks all processes, once a second at most; when that was, in seconds since 1970."""
        now = time.time()
        if now - self._asked_at >= ASK_S or now < self._asked_at:
            self._asked_at = now
            await asyncio.gather(*(self._ask(address) for address in self._addresses))
        return self._asked_at

    def read_until(self, alive: Mapping[str, float]) -> float:
        """Up to which moment all receipts that were given are in files, as far as the processes said.

        `alive`: runs whose process lives, and when it began.
        """
        if not self._addresses:
            return self._asked_at
        until = self._asked_at
        for run, began_at in alive.items():
            statement, heard_at = self._statements.get(run, (None, began_at))
            oldest = None if statement is None else statement.oldest_queued_at
            until = min(until, heard_at if oldest is None else min(oldest, heard_at))
        return until

    def compare(self, follower: Follower, alive: Mapping[str, float]) -> None:
        """Compares what processes said with what was read; for when all was read to the end since they were asked."""
        now = time.time()
        unwritten: dict[str, str] = {}
        for run, (statement, _) in self._statements.items():
            compare_counts(follower, self._faults, ((file.name, file.lines) for file in statement.files))
            if run in alive and (detail := _unwritten(statement, now)):
                unwritten[run] = detail
            if now - self._lost.get(run, 0.0) < LOST_SHOWN_S:
                unwritten[f"{run} lost"] = f"{statement.lost} receipts could not be written and are lost"
        self._faults.replace("receipts_unwritten", unwritten)

    def silent(self, alive: Mapping[str, float]) -> list[str]:
        """Runs whose process lives and has said nothing for too long."""
        if not self._addresses:
            return []
        heard = {run: heard_at for run, (_, heard_at) in self._statements.items()}
        now = time.time()
        return [run for run, began_at in alive.items() if now - heard.get(run, began_at) > SILENT_MAX_S]

    async def _ask(self, address: str) -> None:
        if self._session is None:
            return
        asked_at = time.time()
        try:
            async with self._session.get(f"http://{address}/metrics/receipts") as answer:
                if answer.status != 200:
                    return
                statement = _decode(await answer.read())
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            _log.debug("audit_writer_silent", address=address, error=type(error).__name__)
            return
        before, heard_at = self._statements.pop(statement.run, (None, asked_at))
        if statement.lost > (0 if before is None else before.lost):
            self._lost[statement.run] = asked_at
            oldest = None if before is None else before.oldest_queued_at
            since = heard_at if oldest is None else min(oldest, heard_at)
            self._windows.add(Window(since - BEFORE_END_S, asked_at + BEFORE_END_S))
        self._statements[statement.run] = statement, asked_at
        while len(self._statements) > RUNS_MAX:
            gone = next(iter(self._statements))
            del self._statements[gone]
            self._lost.pop(gone, None)


def _unwritten(statement: Statement, now: float) -> str:
    oldest = statement.oldest_queued_at
    if oldest is not None and now - oldest > UNWRITTEN_MAX_S:
        return f"{statement.queued} receipts wait to be written: {statement.failing or 'the disk is slow'}"
    return f"notes about receipts cannot be written: {statement.failing}" if statement.failing else ""
