"""Receipts that were read and not found at once: looked at again and again, until it is known what became of them."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import msgspec

from standfest.intake.audit.faults import Faults
from standfest.intake.audit.files import Piece, read_piece
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.looks import Glance, Looks
from standfest.intake.audit.model import Examined, Subject
from standfest.intake.receipt_lines import Entry
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
LOOK_AGAIN_S = 1.0
"""A receipt that was not found is looked at again after so long, and then after twice as long each time."""
LOOK_AGAIN_MAX_S = 8.0
"""So long also where the order was seen to wait: it has a whole backlog before it."""


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
_AGAIN = " looked at again"


class Unsettled:
    """The receipts of one directory that are not settled: some in memory, of further ones their places."""

    def __init__(self, directory: Path, looks: Looks, findings: Findings, faults: Faults) -> None:
        """
        Args:
            directory: where the files are.
            looks: what is looked with.
            findings: where flaws of orders go.
            faults: where it goes that a receipt cannot be read again.
        """
        self._directory = directory
        self._looks = looks
        self._findings = findings
        self._faults = faults
        self._pending: dict[_Place, _Pending] = {}
        self._deferred: deque[_Deferred] = deque()
        self._deferred_ids: set[UUID] = set()
        self._deferred_unknown = 0
        self._unreadable: dict[_Place, str] = {}

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
    def has_room(self) -> bool:
        """Whether more may be read."""
        return len(self._deferred) + BATCH <= DEFERRED_MAX

    @property
    def oldest_unknown_at(self) -> float | None:
        """When the oldest receipt of which nothing is known was given, in seconds since 1970; None without any."""
        return min((each.at for each in self._all() if each.glance != "waits"), default=None)

    @property
    def oldest_waiting_at(self) -> float | None:
        """The same of those whose orders are in the journal still."""
        return min((each.at for each in self._all() if each.glance == "waits"), default=None)

    def _all(self) -> Iterator[_Pending | _Deferred]:
        return itertools.chain(self._pending.values(), self._deferred)

    def first_places(self) -> dict[str, int]:
        """Where in each file its first receipt begins that is not settled, in bytes."""
        first: dict[str, int] = {}
        places = [*self._pending, *((each.name, each.start) for each in self._deferred)]
        for name, start in places:
            first[name] = min(start, first.get(name, start))
        return first

    def any_of(self, name: str) -> bool:
        """Whether a receipt of a file is not settled."""
        return any(each == name for each, _ in self._pending) or any(each.name == name for each in self._deferred)

    def forget(self, name: str) -> None:
        """Lets go of the receipts of a file."""
        for place in [place for place in self._pending if place[0] == name]:
            del self._pending[place]
        for place in [place for place in self._unreadable if place[0] == name]:
            del self._unreadable[place]
        kept = [each for each in self._deferred if each.name != name]
        self._deferred = deque(kept)
        self._deferred_ids = {each.order_id for each in kept}
        self._deferred_unknown = sum(each.glance != "waits" for each in kept)

    def take(self, name: str, piece: Piece, glances: Iterable[Glance]) -> None:
        """Takes over what was read of a file and not found at once."""
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
        """Reads deferred receipts again, as many as there is room for; those that cannot be read now come last."""
        room = min(PENDING_MAX - len(self._pending), LOOK_AGAIN_MAX, len(self._deferred))
        some = list(itertools.islice(self._deferred, max(room, 0)))
        reads = await asyncio.to_thread(_read_again, self._directory, some) if some else []
        for each, read in zip(some, reads, strict=True):
            if not self._deferred or self._deferred[0] is not each:
                continue  # its file was let go of meanwhile
            self._deferred.popleft()
            place = each.name, each.start
            if isinstance(read, str):
                self._unreadable[place] = read
                self._deferred.append(each)
                continue
            self._unreadable.pop(place, None)
            self._deferred_ids.discard(each.order_id)
            self._deferred_unknown -= each.glance != "waits"
            self._pending[place] = _Pending(read.receipt, read.at, each.glance, time.monotonic(), LOOK_AGAIN_S)
        unreadable = {f"{name}{_AGAIN}": detail for (name, _), detail in self._unreadable.items()}
        self._faults.replace("receipts_unreadable", unreadable, lambda subject: subject.endswith(_AGAIN))

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


def _read_again(directory: Path, places: Sequence[_Deferred]) -> list[Entry | str]:
    """What the lines at some places hold; why not, where it is not the receipt that was read there."""
    return [_read_one(directory, each) for each in places]


def _read_one(directory: Path, place: _Deferred) -> Entry | str:
    try:
        lines = read_piece(directory / place.name, place.start, 1).lines
    except OSError as error:
        return str(facts_of(error)["error"])
    if not lines or lines[0].entry.receipt.order_id != place.order_id:
        return f"at byte {place.start} the receipt that was read is not there any more"
    return lines[0].entry


def _glance_of(examined: Examined | None) -> Glance:
    """What a thorough look leaves to do: a flaw that was recorded is looked at again as a finding."""
    if examined is None:
        return "suspect"
    return "waits" if examined.waits and not examined.flaws else "found"
