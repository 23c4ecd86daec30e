"""Receipts on this node's disk: what was acknowledged, for the audit to compare with what is stored.

Outside the critical path: `append` puts a receipt into a queue, and a task writes what is queued in a thread. One
process writes one file at a time, and holds a lock on it (flock) for as long as it may still grow. A line is

    {"crc32":<of the entry's bytes>,"entry":{"at":<seconds since 1970>,"receipt":{...}}}

so that a line that was cut off by a crash is recognised. Each line carries its number in its file, so that a file that
was shortened is recognised as well. Nothing is lost silently: what could not be written is counted and logged. Files
are synchronised once a second: a process that is killed loses what it queued within `FLUSH_S`, a machine that loses
power about a second more. The orders themselves do not depend on it.

Before each write and once a second the process looks whether the path is still the file that it has open, and as long
as it left it; where somebody removed, shortened or replaced the file it says so (`statement`) and opens the next one.

Beside its receipts a process keeps a run file (`receipt_runs.py`): that it began, how many receipts each finished file
holds, which orders it gave no definite answer to, and that it ended well. Once a second, also while nothing can be
written, it says there that it lives and until when all is written.
"""

import asyncio
import contextlib
import datetime
import fcntl
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import UUID

import structlog

from standfest.intake.receipt_lines import lines_of
from standfest.intake.receipt_runs import RUN_SUFFIX, Mark, RunFile, began_mark
from standfest.intake.receipt_statement import FileStatement, Statement
from standfest.intake.receipts import Receipt
from standfest.telemetry.failures import facts_of

FLUSH_S = 0.2
"""What is queued is written after so long at the latest."""
BATCH = 500
"""Or as soon as so many receipts are queued."""
_PAUSE_S, _PAUSE_MAX_S = 1.0, 30.0  # after a write that failed, twice as long each time
_DIRECTORY_LOOK_S = 5.0
SYNC_S = 1.0
"""Receipts are synchronised with the disk so often, and the open file is compared with its path."""
LOST_TOLD_S = 10.0
"""Who lost receipts so short a time before it ends did not end well: the audit may not have heard of it."""
FILES_STATED_MAX = 200
"""Newest files that a process names in its statement."""
_DISTURBANCES_STATED_MAX = 20
UNANSWERED_MAX = 200_000
"""Orders without a definite answer that a process notes; each further one is counted as a lost note."""
_SUFFIX = ".jsonl"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """Bounds of one process's receipts."""

    queued_max: int = 20_000
    """More are lost, and counted: the disk is too slow, or away."""
    file_bytes_max: int = 16 * 1024 * 1024
    """A file that is as long is closed, and the next one begun."""
    directory_bytes_max: int = 2 * 1024 * 1024 * 1024
    """With as much in the directory, of all processes, nothing more is written: the audit is stuck."""


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
        self._service = service
        self._run = f"{service}-{started}"
        self._file = _RotatedFile(directory, self._run, limits)
        self._limits = limits
        self._queue: deque[tuple[float, Receipt]] = deque()
        self._notes: deque[Mark] = deque([began_mark(service)])
        self._unanswered = 0
        self._failing: str | None = None
        self._writing_since: float | None = None
        self._noting_since: float | None = None
        self._kept_at = float("-inf")
        self._some, self._enough = asyncio.Event(), asyncio.Event()
        self._ending = asyncio.Event()
        self._lost_logged, self._lost_at = 0, float("-inf")
        self.given = 0
        """Receipts given to clients."""
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

    @property
    def _oldest_at(self) -> float | None:
        if self._writing_since is not None:
            return self._writing_since
        return self._queue[0][0] if self._queue else None

    @property
    def _written_until(self) -> float:
        """All receipts and notes that were given before are on disk, in seconds since 1970."""
        noted_at = self._notes[0].at if self._notes else None
        waiting = (self._oldest_at, self._noting_since, noted_at)
        return min((at for at in waiting if at is not None), default=time.time())

    def append(self, receipt: Receipt) -> None:
        """Queues a receipt that was given to a client; never waits, never fails. From the event loop's thread only."""
        self.given += 1
        if len(self._queue) >= self._limits.queued_max:
            self.lost += 1
            return
        self._queue.append((time.time(), receipt))
        self._some.set()
        if len(self._queue) >= BATCH:
            self._enough.set()

    def note_unanswered(self, order_id: UUID) -> None:
        """Notes an order whose client got no definite answer: it may be stored, and has no receipt. Never waits."""
        if self._unanswered >= UNANSWERED_MAX:
            self.lost += 1
            return
        self._unanswered += 1
        self._notes.append(Mark(time.time(), "unanswered", order_id=order_id))
        self._some.set()

    def statement(self) -> Statement:
        """What this process says of its receipts now."""
        return Statement(
            service=self._service,
            run=self._run,
            given=self.given,
            written=self.written,
            queued=len(self._queue),
            lost=self.lost,
            failing=self._failing,
            oldest_queued_at=self._oldest_at,
            files=[*self._file.finished][-FILES_STATED_MAX:] + self._file.open_files(),
            disturbances=self._file.disturbances,
            disturbed=list(self._file.disturbed),
        )

    async def run(self) -> None:
        """Writes what is queued until `end` is called and nothing is left, or cannot be written."""
        saying = asyncio.create_task(self._say_alive())
        try:
            await self._write_on()
        finally:
            saying.cancel()
        self.lost += len(self._queue)
        self._queue.clear()
        self._tell_lost()
        await asyncio.to_thread(self._file.close)
        if time.monotonic() - self._lost_at >= LOST_TOLD_S:
            self._notes.append(Mark(time.time(), "ended", lines=self.written))
        await self._keep()
        await asyncio.to_thread(self._file.end)

    async def _say_alive(self) -> None:
        """Says once a second that the process lives, and until when all is written; needs no space on the disk."""
        while True:
            await asyncio.to_thread(self._file.say_alive, self._written_until)
            await asyncio.sleep(SYNC_S)

    async def _write_on(self) -> None:
        """Writes until `end` is called and nothing is left, or cannot be written."""
        pause_s = _PAUSE_S
        await self._keep()
        while not self._ending.is_set():
            await _within(SYNC_S, self._some)
            if not self._some.is_set():
                await self._keep()
                continue
            await _within(FLUSH_S, self._enough)
            if await self._flush():
                pause_s = _PAUSE_S
            else:
                await _within(pause_s, self._ending)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        while self._queue and await self._flush():
            pass

    async def _keep(self) -> None:
        """Writes notes, synchronises, and looks whether the open file is still where it was."""
        self._kept_at = time.monotonic()
        notes = [self._notes.popleft() for _ in range(len(self._notes))]
        self._noting_since = notes[0].at if notes else None
        try:
            await asyncio.to_thread(self._file.keep, notes)
        except OSError as error:
            self._notes.extendleft(reversed(notes))
            self._failing = str(facts_of(error)["error"])
            _log.error("receipt_notes_not_written", notes=len(notes), **facts_of(error))
            return
        finally:
            self._noting_since = None
        if not self._queue:
            self._failing = None

    def _not_written(self, error: OSError) -> None:
        self.failures += 1
        self._failing = str(facts_of(error)["error"])
        _log.error("receipts_not_written", receipts=len(self._queue), **facts_of(error))

    def end(self) -> None:
        """Lets `run` return once all that is queued is written."""
        self._ending.set()
        self._some.set()
        self._enough.set()

    async def _flush(self) -> bool:
        """Writes one batch; False where it could not be written, and is queued again."""
        self._enough.clear()
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), 4 * BATCH))]
        self._writing_since = batch[0][0] if batch else None
        if len(self._queue) >= BATCH:
            self._enough.set()
        if not self._queue and not self._ending.is_set():
            self._some.clear()
        try:
            full = bool(batch) and await asyncio.to_thread(self._file.write, batch)
        except OSError as error:
            self._queue.extendleft(reversed(batch))
            self._not_written(error)
            self._some.set()
            self._tell_lost()
            return False
        finally:
            self._writing_since = None
        self._failing = f"more than {self._limits.directory_bytes_max} bytes are kept already" if full else None
        if self._notes or time.monotonic() - self._kept_at >= SYNC_S:
            await self._keep()
        if full:
            self.lost += len(batch)
        else:
            self.written += len(batch)
        self._tell_lost()
        return True

    def _tell_lost(self) -> None:
        if self.lost > self._lost_logged:
            _log.error("receipts_lost", receipts=self.lost - self._lost_logged, in_all=self.lost)
            self._lost_logged, self._lost_at = self.lost, time.monotonic()


class _RotatedFile:
    """One process's files, the newest open and locked. Used by one thread at a time."""

    def __init__(self, directory: Path, stem: str, limits: Limits) -> None:
        self._directory = directory
        self._stem = stem
        self._limits = limits
        self._numbers = count(1)
        self._path = directory
        self._descriptor: int | None = None
        self._run = RunFile(directory / f"{stem}{RUN_SUFFIX}")
        self._size = 0
        self._lines = 0
        self._synced_at = float("-inf")
        self._unsynced = False
        self._looked_at = float("-inf")
        self._full = False
        self.finished: deque[FileStatement] = deque(maxlen=FILES_STATED_MAX)
        """Files that grow no more."""
        self.disturbances = 0
        self.disturbed: deque[str] = deque(maxlen=_DISTURBANCES_STATED_MAX)

    def open_files(self) -> list[FileStatement]:
        """The file that is open, if there is one with receipts in it."""
        return [] if self._descriptor is None or not self._lines else [FileStatement(self._path.name, self._lines)]

    def keep(self, notes: Sequence[Mark]) -> None:
        """Writes notes, synchronises, and looks whether the open file is still where it was.

        Raises:
            OSError: the notes are not written.
        """
        self._look_for_disturbance()
        self._sync()
        if self._run.is_gone():
            self._say_disturbed(self._run.path.name, "was removed or replaced")
            self._run.close()
        self._run.write(notes)

    def say_alive(self, written_until: float) -> None:
        """Says that the process lives; see `RunFile.say_alive`. From any thread."""
        self._run.say_alive(written_until)

    def end(self) -> None:
        """Lets go of the run file."""
        self._run.close()

    def write(self, batch: Sequence[tuple[float, Receipt]]) -> bool:
        """Appends receipts; True where the directory is full, and nothing was written.

        Raises:
            OSError: not all of it was written. What is there of it is followed by nothing: the next write goes to
                a new file. A file with nothing in it is removed again.
        """
        if self._directory_is_full():
            return True
        self._look_for_disturbance()
        data = lines_of(batch, self._lines + 1)
        if self._descriptor is not None and self._size + len(data) > self._limits.file_bytes_max:
            self.close()
        try:
            if self._descriptor is None:
                data = lines_of(batch, 1)
                self._open()
            self._append(data)
        except OSError:
            if self._size:
                self.close()
            else:
                self._discard()
            raise
        self._lines += len(batch)
        self._sync()
        return False

    def close(self) -> None:
        """Ends the file that is open: it grows no more."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        finished = FileStatement(self._path.name, self._lines)
        self.finished.append(finished)
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            _log.error("receipts_not_synchronised", **facts_of(error))
        finally:
            os.close(descriptor)
            self._size = self._lines = 0
        with contextlib.suppress(OSError):  # the next note says that the run file cannot be written
            self._run.write([Mark(time.time(), "closed", file=finished.name, lines=finished.lines)])

    def _look_for_disturbance(self) -> None:
        """Closes the open file where its path is another one by now, or it is shorter or longer than it was left."""
        if self._descriptor is None:
            return
        disturbance = _disturbance(self._path, self._descriptor, self._size)
        if disturbance is None:
            return
        self._say_disturbed(f"{self._path.name} with {self._lines} receipts", disturbance)
        self.close()

    def _say_disturbed(self, what: str, disturbance: str) -> None:
        self.disturbances += 1
        self.disturbed.append(f"{what} {disturbance}")
        _log.error("receipts_disturbed", file=what, disturbance=disturbance)

    def _sync(self) -> None:
        now = time.monotonic()
        if self._descriptor is None or not self._unsynced or now - self._synced_at < SYNC_S:
            return
        self._synced_at, self._unsynced = now, False
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            _log.error("receipts_not_synchronised", **facts_of(error))

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
            self._unsynced = True
            rest = rest[written:]

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = self._directory / f"{self._stem}-{next(self._numbers):04}{_SUFFIX}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = self._lines = 0
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


def _disturbance(path: Path, descriptor: int, size: int) -> str | None:
    """What somebody else did to an open file, in words; None where nothing."""
    held = os.fstat(descriptor)
    try:
        there = path.stat()
    except FileNotFoundError:
        return "was removed"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino):
        return "was replaced by another file"
    if held.st_size < size:
        return f"was shortened from {size} to {held.st_size} bytes"
    return f"was lengthened from {size} to {held.st_size} bytes" if held.st_size > size else None


def directory_bytes(directory: Path) -> int:
    """What all receipt files in a directory take; 0 where it is missing."""
    size = 0
    for path in receipt_files(directory):
        with contextlib.suppress(OSError):  # who reads or writes the file says what is wrong with it
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
