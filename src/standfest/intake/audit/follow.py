"""Receipt files followed as they grow: every receipt is looked at once, and what is not found again and again."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import structlog

from standfest.intake.audit.files import Piece, is_closed, read_piece
from standfest.intake.audit.findings import Findings
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
"""So many receipts may be looked at again; with more, no further ones are read: they are on disk."""
LOOK_AGAIN_S = 1.0
"""A receipt that was not found is looked at again after so long, and then after twice as long each time."""
LOOK_AGAIN_MAX_S = 8.0
"""So long also where the order was seen to wait: it has a whole backlog before it."""

_log = structlog.get_logger(__name__)


class _Followed(msgspec.Struct):
    """A file that is being read."""

    offset: int = 0
    lines: int = 0
    damaged: int = 0


class _Pending(msgspec.Struct):
    """A receipt that was looked at and is not settled."""

    receipt: Receipt
    at: float
    """When it was given, in seconds since 1970."""
    line: int
    """Number of its line in its file."""
    glance: Glance
    due: float
    """When it is looked at again (monotonic)."""
    pause_s: float


_Place = tuple[str, int]
"""Name of a file and where a line begins in it."""


class Follower:
    """Follows the receipt files of one directory."""

    def __init__(
        self,
        directory: Path,
        looks: Looks,
        findings: Findings,
        files: Mapping[str, FileState] = {},
        left_lines: int = 0,
    ) -> None:
        """
        Args:
            directory: where the files are.
            looks: what is looked with.
            findings: where flaws go.
            files: how far each file was settled before.
            left_lines: receipts in files that were left before.
        """
        self._directory = directory
        self._looks = looks
        self._findings = findings
        self._files = {name: _Followed(state.offset, state.lines, state.damaged) for name, state in files.items()}
        self._pending: dict[_Place, _Pending] = {}
        self._left: set[str] = set()
        self.left_lines = left_lines
        """Receipts in files that were audited and left, to be removed."""
        self._unread_bytes = 0
        self._oldest_unread_at: float | None = None

    @property
    def acknowledged(self) -> int:
        """Receipts that were read, those in files that are removed by now included."""
        return self.left_lines + sum(file.lines for file in self._files.values())

    @property
    def damaged(self) -> int:
        """Lines that are no receipts: somebody changed them, or the disk did."""
        return sum(file.damaged for file in self._files.values())

    @property
    def unknown(self) -> int:
        """Receipts of which it is not known yet what became of their orders."""
        return sum(1 for pending in self._pending.values() if pending.glance != "waits")

    @property
    def waiting(self) -> int:
        """Receipts whose orders are in the journal still, as they were acknowledged."""
        return len(self._pending) - self.unknown

    @property
    def unaudited_bytes(self) -> int:
        """What is in the files and was not read yet."""
        return self._unread_bytes

    @property
    def lag_s(self) -> float:
        """Age of the oldest receipt that is not settled, unread ones included; 0 where there is none."""
        waiting_since = [pending.at for pending in self._pending.values() if pending.glance != "waits"]
        if self._oldest_unread_at is not None:
            waiting_since.append(self._oldest_unread_at)
        return max(0.0, time.time() - min(waiting_since)) if waiting_since else 0.0

    def states(self) -> dict[str, FileState]:
        """How far each file is settled: up to its first receipt that is not."""
        states = {name: FileState(file.offset, file.lines, file.damaged) for name, file in self._files.items()}
        for (name, start), pending in self._pending.items():
            if start < states[name].offset:
                states[name] = FileState(start, pending.line, states[name].damaged)
        return states

    def is_settled(self, path: Path) -> bool:
        """Whether all of a file was read, and every order in it found in the database."""
        file = self._files.get(path.name)
        return (
            file is not None
            and file.offset >= path.stat().st_size
            and not any(name == path.name for name, _ in self._pending)
        )

    def leave(self, name: str) -> None:
        """Lets go of a file that is about to be removed."""
        self._left.add(name)
        self.left_lines += self._files.pop(name).lines

    async def read(self) -> bool:
        """Looks at the receipts that were written since; whether there are more already."""
        there = await asyncio.to_thread(receipt_files, self._directory)
        self._left &= {path.name for path in there}
        paths = [path for path in there if path.name not in self._left]
        for gone in self._files.keys() - {path.name for path in paths}:
            if self._files.pop(gone).offset:  # a file with nothing in it its writer may take away
                _log.error("audit_receipts_removed", file=gone, next="only the audit may remove receipt files")
        self._pending = {place: pending for place, pending in self._pending.items() if place[0] in self._files}
        more = False
        for path in paths:
            more |= await self._read_file(path)
        self._unread_bytes = sum(self._unread(path) for path in paths)
        if not self._unread_bytes:
            self._oldest_unread_at = None
        return more

    async def look_again(self) -> None:
        """Looks once more at the receipts that are due, thoroughly where they seemed missing or altered."""
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

    async def _read_file(self, path: Path) -> bool:
        """One piece of a file; whether there is more."""
        if path.name in self._left or len(self._pending) + BATCH > PENDING_MAX:
            return False
        file = self._files.setdefault(path.name, _Followed())
        try:
            piece = await asyncio.to_thread(_read_next, path, file)
        except FileNotFoundError:
            return False  # the next round says so
        except OSError as error:
            _log.error("audit_cannot_read_receipts", file=path.name, **facts_of(error))
            return False
        if piece is None:
            return False
        if piece.damaged:
            _log.error("audit_receipts_damaged", file=path.name, lines=piece.damaged, near_byte=file.offset)
        if piece.lines:
            self._oldest_unread_at = piece.lines[0].entry.at
            glances = await self._looks.glance_at_receipts([read.entry.receipt for read in piece.lines])
            self._take(path.name, file, piece, glances)
        file.damaged += piece.damaged
        file.offset = piece.end
        return piece.more

    def _take(self, name: str, file: _Followed, piece: Piece, glances: Iterable[Glance]) -> None:
        for read, glance in zip(piece.lines, glances, strict=True):
            if glance != "found":
                pause_s = LOOK_AGAIN_MAX_S if glance == "waits" else LOOK_AGAIN_S
                due = time.monotonic() + pause_s
                pending = _Pending(read.entry.receipt, read.entry.at, file.lines, glance, due, pause_s)
                self._pending[name, read.start] = pending
            file.lines += 1

    async def _look_again(self, places: list[_Place]) -> None:
        pending = {place: self._pending[place] for place in places}
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
            del self._pending[place]
            return
        is_new = glance == "suspect" and pending.glance != "suspect"
        pending.pause_s = LOOK_AGAIN_S if is_new else min(2 * pending.pause_s, LOOK_AGAIN_MAX_S)
        pending.glance = glance
        pending.due = time.monotonic() + pending.pause_s

    def _unread(self, path: Path) -> int:
        with contextlib.suppress(FileNotFoundError):
            file = self._files.get(path.name)
            return max(0, path.stat().st_size - (file.offset if file else 0))
        return 0


def _read_next(path: Path, file: _Followed) -> Piece | None:
    """The next piece of a file; None where there is none. What a writer that died left half-written is passed over."""
    size = path.stat().st_size
    if size <= file.offset:
        return None
    piece = read_piece(path, file.offset, BATCH)
    if piece.end == file.offset and is_closed(path):
        piece = read_piece(path, file.offset, BATCH)  # what was written before it was closed
        if piece.end == file.offset:
            _log.info("audit_receipt_cut_off", file=path.name, bytes=size - file.offset)
            file.offset = size
            return None
    return piece


def _glance_of(examined: Examined | None) -> Glance:
    """What a thorough look leaves to do: a flaw that was recorded is looked at again as a finding."""
    if examined is None:
        return "suspect"
    return "waits" if examined.waits and not examined.flaws else "found"
