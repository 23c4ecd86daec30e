"""Receipts on this node's disk: what was acknowledged, for the audit to compare with what is stored.

Outside the critical path: `append` puts a receipt into a queue, and a task writes what is queued in a thread. One
process writes one file at a time, and holds a lock on it (flock) for as long as it may still grow. A line is

    {"crc32":<of the entry's bytes>,"entry":{"at":<seconds since 1970>,"receipt":{...}}}

so that a line that was cut off by a crash is recognised. Nothing is lost silently: what could not be written is
counted and logged. Files are synchronised when they are full, not at every write: a process that is killed loses
what it queued within `FLUSH_S`, a machine that loses power some seconds more. The orders themselves do not depend
on it.
"""

import asyncio
import contextlib
import datetime
import fcntl
import os
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec
import structlog

from standfest.intake.receipts import Receipt
from standfest.telemetry.failures import facts_of

FLUSH_S = 0.2
"""What is queued is written after so long at the latest."""
BATCH = 500
"""Or as soon as so many receipts are queued."""
_PAUSE_S, _PAUSE_MAX_S = 1.0, 30.0  # after a write that failed, twice as long each time
_DIRECTORY_LOOK_S = 5.0
_SUFFIX = ".jsonl"

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True):
    """What a line holds."""

    at: float
    """When the receipt was given: seconds since 1970."""
    receipt: Receipt


@dataclass(frozen=True)
class Limits:
    """Bounds of one process's receipts."""

    queued_max: int = 20_000
    """More are lost, and counted: the disk is too slow, or away."""
    file_bytes_max: int = 16 * 1024 * 1024
    """A file that is as long is closed, and the next one begun."""
    directory_bytes_max: int = 2 * 1024 * 1024 * 1024
    """With as much in the directory, of all processes, nothing more is written: the audit is stuck."""


def line_of(at: float, receipt: Receipt) -> bytes:
    """A receipt as a line of a file."""
    entry = _encode(Entry(at, receipt))
    return b'{"crc32":%d,"entry":%b}\n' % (zlib.crc32(entry), entry)


class ReceiptLog:
    """The receipts of one process on their way to disk. Open it with `receipt_log`."""

    def __init__(self, directory: Path, service: str, limits: Limits = Limits()) -> None:
        """
        Args:
            directory: of this node; made (0700) where it is missing.
            service: the process's name on its node, e.g. `api-2`: files are named after it.
            limits: see `Limits`.
        """
        started = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._file = _RotatedFile(directory, f"{service}-{started}", limits)
        self._limits = limits
        self._queue: deque[tuple[float, Receipt]] = deque()
        self._some, self._enough = asyncio.Event(), asyncio.Event()
        self._ending = asyncio.Event()
        self._lost_logged = 0
        self.written = 0
        """Receipts that are in a file."""
        self.lost = 0
        """Receipts that are in no file and never will be."""
        self.failures = 0
        """Writes that failed; they are tried again."""

    @property
    def queued(self) -> int:
        """Receipts that wait to be written."""
        return len(self._queue)

    def append(self, receipt: Receipt) -> None:
        """Queues a receipt that was given to a client; never waits, never fails. From the event loop's thread only."""
        if len(self._queue) >= self._limits.queued_max:
            self.lost += 1
            return
        self._queue.append((time.time(), receipt))
        self._some.set()
        if len(self._queue) >= BATCH:
            self._enough.set()

    async def run(self) -> None:
        """Writes what is queued until `end` is called and nothing is left, or cannot be written."""
        pause_s = _PAUSE_S
        while not self._ending.is_set():
            await self._some.wait()
            await _within(FLUSH_S, self._enough)
            if await self._flush():
                pause_s = _PAUSE_S
            else:
                await _within(pause_s, self._ending)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        while self._queue and await self._flush():
            pass
        self.lost += len(self._queue)
        self._queue.clear()
        self._tell_lost()
        await asyncio.to_thread(self._file.close)

    def end(self) -> None:
        """Lets `run` return once all that is queued is written."""
        self._ending.set()
        self._some.set()
        self._enough.set()

    async def _flush(self) -> bool:
        """Writes one batch; False where it could not be written, and is queued again."""
        self._enough.clear()
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), 4 * BATCH))]
        if len(self._queue) >= BATCH:
            self._enough.set()
        if not self._queue and not self._ending.is_set():
            self._some.clear()
        try:
            full = await asyncio.to_thread(self._file.write, batch)
        except OSError as error:
            self.failures += 1
            _log.error("receipts_not_written", receipts=len(batch), **facts_of(error))
            self._queue.extendleft(reversed(batch))
            self._some.set()
            self._tell_lost()
            return False
        if full:
            self.lost += len(batch)
        else:
            self.written += len(batch)
        self._tell_lost()
        return True

    def _tell_lost(self) -> None:
        if self.lost > self._lost_logged:
            _log.error("receipts_lost", receipts=self.lost - self._lost_logged, in_all=self.lost)
            self._lost_logged = self.lost


class _RotatedFile:
    """One process's files, the newest open and locked. Used by one thread at a time."""

    def __init__(self, directory: Path, stem: str, limits: Limits) -> None:
        self._directory = directory
        self._stem = stem
        self._limits = limits
        self._numbers = count(1)
        self._path = directory
        self._descriptor: int | None = None
        self._size = 0
        self._looked_at = float("-inf")
        self._full = False

    def write(self, batch: Sequence[tuple[float, Receipt]]) -> bool:
        """Appends receipts; True where the directory is full, and nothing was written.

        Raises:
            OSError: not all of it was written. What is there of it is followed by nothing: the next write goes to
                a new file. A file with nothing in it is removed again.
        """
        if self._directory_is_full():
            return True
        data = b"".join(line_of(at, receipt) for at, receipt in batch)
        if self._size + len(data) > self._limits.file_bytes_max:
            self.close()
        try:
            if self._descriptor is None:
                self._open()
            self._append(data)
        except OSError:
            if self._size:
                self.close()
            else:
                self._discard()
            raise
        return False

    def close(self) -> None:
        """Ends the file that is open: it grows no more."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            _log.error("receipts_not_synchronised", **facts_of(error))
        finally:
            os.close(descriptor)

    def _discard(self) -> None:
        """Removes the file that is open: a full disk shall not fill up with empty ones as well."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            self._path.unlink()
        finally:
            os.close(descriptor)

    def _append(self, data: bytes) -> None:
        if self._descriptor is None:
            raise OSError("no file of receipts is open")
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            self._size += written
            rest = rest[written:]

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = self._directory / f"{self._stem}-{next(self._numbers):04}{_SUFFIX}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = 0
        # The audit tries the lock for a moment, to see whether the file grows still.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def _directory_is_full(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at < _DIRECTORY_LOOK_S:
            return self._full
        self._looked_at = now
        was_full, self._full = self._full, directory_bytes(self._directory) >= self._limits.directory_bytes_max
        if self._full and not was_full:
            _log.error(
                "receipts_directory_full", directory=str(self._directory), limit=self._limits.directory_bytes_max
            )
        return self._full


def directory_bytes(directory: Path) -> int:
    """What all receipt files in a directory take; 0 where it is missing."""
    size = 0
    for path in receipt_files(directory):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def receipt_files(directory: Path) -> list[Path]:
    """The receipt files in a directory, oldest first."""
    return sorted(directory.glob(f"*{_SUFFIX}"), key=_age)


def _age(path: Path) -> tuple[str, int, str]:
    """When the process began, then the number of the file, which may have any number of digits."""
    *_, started, number = "", *path.stem.split("-")
    return started, len(number), number


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Waits for the event, and no longer than so."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@contextlib.asynccontextmanager
async def receipt_log(directory: Path, service: str, limits: Limits = Limits()) -> AsyncIterator[ReceiptLog]:
    """A log that is written for as long as the block lasts; when it ends, all that was appended is on disk."""
    log = ReceiptLog(directory, service, limits)
    writing = asyncio.create_task(log.run())
    try:
        yield log
    finally:
        log.end()
        await writing
