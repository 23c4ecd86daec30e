"""Receipt files followed as they grow: every receipt is looked at once, and what is not found again and again.

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
from standfest.intake.audit.files import Piece, Read, is_closed, read_piece
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.left import KeptLeft, Left, Ranges
from standfest.intake.audit.looks import Glance, Looks
from standfest.intake.audit.model import Examined, Subject
from standfest.intake.audit.state import FileState
from standfest.intake.receipt_log import receipt_files
from standfest.intake.receipts import Receipt
from standfest.telemetry.failures import facts_of

BATCH = 200
"""Receipts a look."""
LOOK_AGAIN_MAX = 2 * BATCH
"""Receipts that are looked at again in one round: draining goes first."""
PENDING_MAX = 10_000
"""Receipts that are kept in memory to be looked at again; of further ones the place in their file is kept."""
DEFERRED_MAX = 300_000
"""Places of receipts that are to be looked at again; with more, no further ones are read: the audit is behind."""
POWER_LOSS_BYTES_MAX = 1024 * 1024
"""A file may be so much shorter after the machine was started anew: what was not on the disk is gone."""
LOOK_AGAIN_S = 1.0
"""A receipt that was not found is looked at again after so long, and then after twice as long each time."""
LOOK_AGAIN_MAX_S = 8.0
"""So long also where the order was seen to wait: it has a whole backlog before it."""

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


class _Pending(msgspec.Struct):
    """A receipt that was looked at and is not settled."""

    receipt: Receipt
    at: float
    """When it was given, in seconds since 1970."""
    glance: Glance
    due: float
    """When it is looked at again (monotonic)."""
    pause_s: float


class _Deferred(NamedTuple):
    """A receipt that is to be looked at again and is not kept in memory."""

    name: str
    start: int
    order_id: UUID
    at: float
    glance: Glance


_Place = tuple[str, int]
"""Name of a file and where a line begins in it."""


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
        self._pending: dict[_Place, _Pending] = {}
        self._deferred: deque[_Deferred] = deque()
        self._deferred_ids: set[UUID] = set()
        self._deferred_unknown = 0
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
        pending = {each.receipt.order_id for each in self._pending.values()}
        return {order_id for order_id in order_ids if order_id in pending or order_id in self._deferred_ids}

    @property
    def unknown(self) -> int:
        """Receipts of which it is not known yet what became of their orders."""
        return sum(1 for each in self._pending.values() if each.glance != "waits") + self._deferred_unknown

    @property
    def waiting(self) -> int:
        """Receipts whose orders are in the journal still, as they were acknowledged."""
        return len(self._pending) + len(self._deferred) - self.unknown

    @property
    def unaudited_bytes(self) -> int:
        """What is in the files and was not read yet."""
        return self._unread_bytes

    @property
    def lag_s(self) -> float:
        """Age of the oldest receipt that is not settled, unread ones included; 0 where there is none."""
        waiting_since = [pending.at for pending in self._pending.values() if pending.glance != "waits"]
        if self._deferred_unknown:
            waiting_since.append(next(each.at for each in self._deferred if each.glance != "waits"))
        if self._oldest_unread_at is not None:
            waiting_since.append(self._oldest_unread_at)
        return max(0.0, time.time() - min(waiting_since)) if waiting_since else 0.0

    def states(self) -> dict[str, FileState]:
        """How far each file is settled: up to a place before its first receipt that is not."""
        first: dict[str, int] = {}
        places = [*self._pending, *((each.name, each.start) for each in self._deferred)]
        for name, start in places:
            first[name] = min(start, first.get(name, start))
        return {name: _state(file, first.get(name)) for name, file in self._files.items()}

    def is_settled(self, path: Path) -> bool:
        """Whether all of a file was read, and every order in it found in the database."""
        file = self._files.get(path.name)
        return (
            file is not None
            and file.best is None
            and file.at.offset >= path.stat().st_size
            and not any(name == path.name for name, _ in self._pending)
            and not any(each.name == path.name for each in self._deferred)
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
        for place in [place for place in self._pending if place[0] == name]:
            del self._pending[place]
        kept = [each for each in self._deferred if each.name != name]
        self._deferred = deque(kept)
        self._deferred_ids = {each.order_id for each in kept}
        self._deferred_unknown = sum(each.glance != "waits" for each in kept)

    def _begin_anew(self, file: _Followed) -> None:
        """Has a file that is not what was read of it read from its beginning."""
        if file.best is None:
            file.best, file.changed_at = file.at, time.time()
        file.at = _Reached()
        file.passed.clear()

    async def look_again(self) -> None:
        """Looks once more at the receipts that are due, thoroughly where they seemed missing or altered."""
        await self._recall()
        if not self._pending:
            return
        there, now = await self._looks.database_there(), time.monotonic()
        # What a look at the journal told does not change for the better before the database is there.
        due = [
            place
            for place, pending in self._pending.items()
            if pending.due <= now and (there or pending.glance == "unknown")
        ][:LOOK_AGAIN_MAX]
        for start in range(0, len(due), BATCH):
            await self._look_again(due[start : start + BATCH])

    async def _recall(self) -> None:
        """Reads deferred receipts again, as many as there is room for."""
        room = min(PENDING_MAX - len(self._pending), LOOK_AGAIN_MAX, len(self._deferred))
        if room <= 0:
            return
        some = [self._deferred.popleft() for _ in range(room)]
        reads = await asyncio.to_thread(_read_again, self._directory, some)
        for each, read in zip(some, reads, strict=True):
            self._deferred_ids.discard(each.order_id)
            self._deferred_unknown -= each.glance != "waits"
            if read is not None:
                entry = read.entry
                pending = _Pending(entry.receipt, entry.at, each.glance, time.monotonic(), LOOK_AGAIN_S)
                self._pending[each.name, each.start] = pending

    async def _read_file(self, path: Path) -> bool:
        """One piece of a file; whether there is more."""
        if path.name in self._left:
            return False
        if len(self._deferred) + BATCH > DEFERRED_MAX:
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
            self._take(path.name, piece, glances)
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

    def _take(self, name: str, piece: Piece, glances: Iterable[Glance]) -> None:
        for read, glance in zip(piece.lines, glances, strict=True):
            if glance == "found":
                continue
            entry = read.entry
            if len(self._pending) >= PENDING_MAX:
                self._deferred.append(_Deferred(name, read.start, entry.receipt.order_id, entry.at, glance))
                self._deferred_ids.add(entry.receipt.order_id)
                self._deferred_unknown += glance != "waits"
                continue
            pause_s = LOOK_AGAIN_MAX_S if glance == "waits" else LOOK_AGAIN_S
            due = time.monotonic() + pause_s
            self._pending[name, read.start] = _Pending(entry.receipt, entry.at, glance, due, pause_s)

    async def _look_again(self, places: list[_Place]) -> None:
        pending = {place: self._pending[place] for place in places if place in self._pending}
        suspects = {place: each for place, each in pending.items() if each.glance == "suspect"}
        others = {place: each for place, each in pending.items() if each.glance != "suspect"}
        if suspects:
            subjects = {
                each.receipt.order_id: Subject(each.receipt.order_id, each.receipt) for each in suspects.values()
            }
            examined = await self._looks.examine(list(subjects.values()))
            for order_id, found in examined.items():
                self._findings.record(subjects[order_id], found)
            for place, each in suspects.items():
                self._settle(place, each, _glance_of(examined.get(each.receipt.order_id)))
        if others:
            glances = await self._looks.glance_at_receipts([each.receipt for each in others.values()])
            for (place, each), glance in zip(others.items(), glances, strict=True):
                self._settle(place, each, glance)

    def _settle(self, place: _Place, pending: _Pending, glance: Glance) -> None:
        if glance == "found":
            self._pending.pop(place, None)
            return
        is_new = glance == "suspect" and pending.glance != "suspect"
        pending.pause_s = LOOK_AGAIN_S if is_new else min(2 * pending.pause_s, LOOK_AGAIN_MAX_S)
        pending.glance = glance
        pending.due = time.monotonic() + pending.pause_s

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


def _read_again(directory: Path, places: Sequence[_Deferred]) -> list[Read | None]:
    """The receipts at some places; None where there is none any more."""
    reads: list[Read | None] = []
    for each in places:
        try:
            piece = read_piece(directory / each.name, each.start, 1)
        except OSError:
            reads.append(None)  # reading the file on says so
            continue
        reads.append(piece.lines[0] if piece.lines else None)
    return reads


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


def _glance_of(examined: Examined | None) -> Glance:
    """What a thorough look leaves to do: a flaw that was recorded is looked at again as a finding."""
    if examined is None:
        return "suspect"
    return "waits" if examined.waits and not examined.flaws else "found"
