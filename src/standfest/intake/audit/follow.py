"""Receipt files followed as they grow: every receipt is looked at once, and what is not found is left to `Unsettled`.

What was read once has to stay: a file that became shorter or is gone, and lines that do not follow in number, are
faults, until all is there again. What the audit itself removed it remembers.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import msgspec
import structlog

from standfest.intake.audit.faults import Faults
from standfest.intake.audit.files import Piece, is_closed, read_piece
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.left import KeptLeft, Left, Ranges
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.state import FileState
from standfest.intake.audit.unsettled import BATCH, Unsettled
from standfest.intake.receipt_log import receipt_files
from standfest.telemetry.failures import facts_of

POWER_LOSS_BYTES_MAX = 1024 * 1024
"""A file may be so much shorter after the machine was started anew: what was not on the disk is gone."""

_ONLY = "only the audit may remove receipts"

_log = structlog.get_logger(__name__)


class _Reached(NamedTuple):
    """How far a file is read."""

    offset: int = 0
    lines: int = 0
    damaged: int = 0
    seq: int = 0
    digest: bytes = b""


class _Followed(msgspec.Struct):
    """A file that is being read."""

    at: _Reached = _Reached()
    passed: deque[_Reached] = msgspec.field(default_factory=deque)
    """Places before `at` from which reading can begin again, oldest first."""
    best: _Reached | None = None
    """How far it was read before somebody changed, shortened or removed it."""
    floor: int = 0
    """Receipts that it is known to have; while it is read once more fewer are read."""
    changed_at: float = 0.0
    """When it was first seen to be another one, in seconds since 1970."""
    gone: bool = False
    inode: int = 0
    """Of the file that was read; 0 where that is not known."""
    looked: tuple[int, int, int] = (0, 0, 0)
    """Inode, size and time of the last change, as last compared with `best`."""

    @property
    def lines(self) -> int:
        """Receipts that were read, those that are not there any more included."""
        return max(self.at.lines, self.floor, 0 if self.best is None else self.best.lines)


class Follower:
    """Follows the receipt files of one directory."""

    def __init__(
        self,
        directory: Path,
        looks: Looks,
        findings: Findings,
        faults: Faults,
        files: Mapping[str, FileState] = {},
        left_lines: int = 0,
        left: KeptLeft = (),
        *,
        booted: bool = False,
    ) -> None:
        """
        Args:
            directory: where the files are.
            looks: what is looked with.
            findings: where flaws of orders go.
            faults: where what is wrong with files goes.
            files: how far each file was settled before.
            left_lines: receipts in files that were left before.
            left: which files these were; see `Left`.
            booted: the machine was started anew since: what was not on its disk is gone.
        """
        self._directory = directory
        self._looks = looks
        self._findings = findings
        self._faults = faults
        self._files = {name: _followed(state) for name, state in files.items()}
        self._unsettled = Unsettled(directory, looks, findings, faults)
        self._left = Left(left)
        self._booted = booted
        self.left_lines = left_lines
        """Receipts in files that were audited and left, to be removed."""
        self._unread_bytes = 0
        self._oldest_unread_at: float | None = None
        self.complete = False
        """Whether the last round read all files to their ends."""

    @property
    def acknowledged(self) -> int:
        """Receipts that were read, those in files that are removed by now included."""
        return self.left_lines + sum(file.lines for file in self._files.values())

    @property
    def damaged(self) -> int:
        """Lines that are no receipts: somebody changed them, or the disk did."""
        return sum(file.at.damaged for file in self._files.values())

    @property
    def left(self) -> Ranges:
        """Files that the audit removed; see `Left`."""
        return self._left.kept()

    def lines_of(self, name: str) -> int | None:
        """Lines that were read of a file; None where the audit has removed it."""
        file = self._files.get(name)
        if file is None:
            return None if name in self._left else 0
        return file.at.lines + file.at.damaged

    def reached(self, name: str) -> tuple[int, bytes]:
        """How far a file is read, in bytes, and the digest of that."""
        file = self._files.get(name)
        return (0, b"") if file is None else (file.at.offset, file.at.digest)

    def held(self, order_ids: Iterable[UUID]) -> set[UUID]:
        """Those of these orders of which a receipt was read and waits to be looked at again."""
        return self._unsettled.held(order_ids)

    @property
    def unknown(self) -> int:
        """Receipts of which it is not known yet what became of their orders."""
        return self._unsettled.unknown

    @property
    def waiting(self) -> int:
        """Receipts whose orders are in the journal still, as they were acknowledged."""
        return self._unsettled.waiting

    async def look_again(self) -> None:
        """Looks once more at the receipts that are due, thoroughly where they seemed missing or altered."""
        await self._unsettled.look_again()

    @property
    def unaudited_bytes(self) -> int:
        """What is in the files and was not read yet."""
        return self._unread_bytes

    @property
    def lag_s(self) -> float:
        """Age of the oldest receipt that is not settled, unread ones included; 0 where there is none."""
        since = [at for at in (self._unsettled.oldest_unknown_at, self._oldest_unread_at) if at is not None]
        return max(0.0, time.time() - min(since)) if since else 0.0

    @property
    def waiting_s(self) -> float:
        """Age of the oldest receipt whose order is in the journal still; 0 where there is none."""
        since = self._unsettled.oldest_waiting_at
        return 0.0 if since is None else max(0.0, time.time() - since)

    def states(self) -> dict[str, FileState]:
        """How far each file is settled: up to a place before its first receipt that is not."""
        first = self._unsettled.first_places()
        return {name: _state(file, first.get(name)) for name, file in self._files.items()}

    def is_settled(self, path: Path) -> bool:
        """Whether all of a file was read, and every order in it found in the database."""
        file = self._files.get(path.name)
        return (
            file is not None
            and file.best is None
            and file.at.offset >= path.stat().st_size
            and not self._unsettled.any_of(path.name)
        )

    def leave(self, name: str) -> None:
        """Lets go of a file that is about to be removed."""
        self._left.add(name)
        self.left_lines += self._files.pop(name).at.lines

    async def read(self) -> bool:
        """Looks at the receipts that were written since; whether there are more already."""
        there = await asyncio.to_thread(receipt_files, self._directory)
        paths = [path for path in there if path.name not in self._left]
        names = {path.name for path in paths}
        for name, file in list(self._files.items()):
            if name not in names and not file.gone:
                self._vanished(name, file)
        more, self.complete = False, True
        for path in paths:
            more |= await self._read_file(path)
        self._booted = False
        self.complete = self.complete and not more
        self._unread_bytes = sum(self._unread(path) for path in paths)
        if not self._unread_bytes:
            self._oldest_unread_at = None
        return more

    def _vanished(self, name: str, file: _Followed) -> None:
        if not file.at.offset and file.best is None:
            del self._files[name]  # a file with nothing in it its writer may take away
            return
        if self._booted and file.at.offset <= POWER_LOSS_BYTES_MAX:
            _log.warning("audit_receipts_lost_with_machine", file=name, receipts=file.lines)
            self.left_lines += self._files.pop(name).lines
            return
        file.gone, file.looked = True, (0, 0, 0)
        self._begin_anew(file)
        self._faults.note("receipts_missing", name, f"it is gone with {file.lines} receipts that were read; {_ONLY}")

    def _restored(self, name: str, file: _Followed, best: _Reached) -> None:
        """Goes on with a file that is as it was read; of another one in its place no receipt was anybody's."""
        if file.best is None:
            file.at = best
            return
        self._findings.doubt(file.changed_at)
        file.at, file.best, file.floor = _Reached(), None, best.lines
        file.passed.clear()
        self._unsettled.forget(name)

    def _begin_anew(self, file: _Followed) -> None:
        """Has a file that is not what was read of it read from its beginning."""
        if file.best is None:
            file.best, file.changed_at = file.at, time.time()
        file.at = _Reached()
        file.passed.clear()

    async def _read_file(self, path: Path) -> bool:
        """One piece of a file; whether there is more."""
        if path.name in self._left:
            return False
        if not self._unsettled.has_room:
            self.complete = False
            return False
        file = self._files.setdefault(path.name, _Followed())
        file.gone = False
        try:
            await self._look_at_file(path, file)
            piece = await asyncio.to_thread(_read_next, path, file)
        except FileNotFoundError:
            return False  # the next round says so
        except OSError as error:
            self.complete = False
            self._faults.note("receipts_unreadable", path.name, str(facts_of(error)["error"]))
            return False
        self._faults.clear("receipts_unreadable", path.name)
        if piece is None:
            return False
        if piece.damaged:
            _log.error("audit_receipts_damaged", file=path.name, lines=piece.damaged, near_byte=file.at.offset)
        if piece.lines:
            self._oldest_unread_at = piece.lines[0].entry.at
            glances = await self._looks.glance_at_receipts([read.entry.receipt for read in piece.lines])
            self._unsettled.take(path.name, piece, glances)
        self._advance(path.name, file, piece)
        return piece.more

    async def _look_at_file(self, path: Path, file: _Followed) -> None:
        """Notes whether a file is what was read of it still, and once it is again."""
        found = await asyncio.to_thread(path.stat)
        size, looked = found.st_size, (found.st_ino, found.st_size, found.st_mtime_ns)
        other = file.inode not in (0, found.st_ino)
        file.inode = found.st_ino
        if not other and size >= file.at.offset and (file.best is None or looked == file.looked):
            return
        file.looked = looked
        best = file.best or file.at
        if size >= best.offset and await asyncio.to_thread(_is_as_read, path, best):
            self._restored(path.name, file, best)
            for subject in (path.name, f"{path.name} in between"):
                self._faults.clear("receipts_missing", subject)
            self._faults.clear("receipts_damaged", path.name)
        elif self._booted and size < best.offset <= size + POWER_LOSS_BYTES_MAX:
            _log.warning("audit_receipts_lost_with_machine", file=path.name, bytes=best.offset - size)
            self._begin_anew(file)
            file.best = None
        elif other or size < file.at.offset:
            self._begin_anew(file)
            self._faults.clear("receipts_missing", f"{path.name} in between")
            if size < best.offset:
                detail = f"{best.lines} receipts were read from it, and it is {size} bytes long by now; {_ONLY}"
                self._faults.note("receipts_missing", path.name, detail)
            else:
                self._faults.note("receipts_damaged", path.name, "it is another file than was read")

    def _advance(self, name: str, file: _Followed, piece: Piece) -> None:
        """Notes how far a file is read by now, and whether its lines follow in number."""
        before = file.at
        expected = before.seq + len(piece.lines) + piece.damaged
        numbers = [read.entry.seq for read in piece.lines if read.entry.seq is not None]
        if numbers and (numbers[-1] > expected or numbers[0] <= before.seq or _falls(numbers)):
            detail = f"behind line {before.seq} there are {len(numbers)} lines, the last one numbered {numbers[-1]}"
            self._faults.note("receipts_missing", f"{name} in between", detail)
        seq = numbers[-1] if numbers and not piece.damaged else expected
        lines = before.lines + len(piece.lines)
        file.passed.append(before)
        file.at = _Reached(piece.end, lines, before.damaged + piece.damaged, seq, piece.digest)

    def _unread(self, path: Path) -> int:
        with contextlib.suppress(OSError):
            file = self._files.get(path.name)
            return max(0, path.stat().st_size - (file.at.offset if file else 0))
        return 0


def _followed(state: FileState) -> _Followed:
    return _Followed(_reached(state), best=None if state.best is None else _reached(state.best))


def _reached(state: FileState) -> _Reached:
    return _Reached(state.offset, state.lines, state.damaged, state.seq, bytes.fromhex(state.digest))


def _kept(at: _Reached, best: FileState | None = None) -> FileState:
    return FileState(at.offset, at.lines, at.damaged, at.seq, at.digest.hex(), best)


def _state(file: _Followed, first: int | None) -> FileState:
    """How far a file is settled whose first receipt that is not settled begins at byte `first`."""
    limit = file.at.offset if first is None else first
    while len(file.passed) > 1 and file.passed[1].offset <= limit:
        file.passed.popleft()
    at = file.passed[0] if first is not None and file.passed else file.at
    return _kept(at, None if file.best is None else _kept(file.best))


def _is_as_read(path: Path, reached: _Reached) -> bool:
    """Whether all that was read of a file is there as it was."""
    offset, digest, more = 0, b"", True
    while more and offset < reached.offset:
        piece = read_piece(path, offset, BATCH, digest)
        if piece.end > reached.offset:
            lines = sum(read.start < reached.offset for read in piece.lines)
            piece = read_piece(path, offset, max(1, lines + piece.damaged), digest)
        if piece.end in (offset, reached.offset):
            digest = piece.digest
            break
        if piece.end > reached.offset:
            return False
        offset, digest, more = piece.end, piece.digest, piece.more
    return digest == reached.digest


def _falls(numbers: Sequence[int]) -> bool:
    return any(later <= earlier for earlier, later in itertools.pairwise(numbers))


def _read_next(path: Path, file: _Followed) -> Piece | None:
    """The next piece of a file; None where there is none. What a writer that died left half-written is passed over."""
    size, offset, digest = path.stat().st_size, file.at.offset, file.at.digest
    if size <= offset:
        return None
    piece = read_piece(path, offset, BATCH, digest)
    if piece.end == offset and is_closed(path):
        piece = read_piece(path, offset, BATCH, digest)  # what was written before it was closed
        if piece.end == offset:
            _log.info("audit_receipt_cut_off", file=path.name, bytes=size - offset)
            file.at = file.at._replace(offset=size)
            return None
    return piece
