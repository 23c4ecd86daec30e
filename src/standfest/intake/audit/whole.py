"""One whole pass at full speed, now: all receipts in some directories and all orders in the database."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import msgspec

from standfest.errors import StandfestError
from standfest.intake.audit.faults import Fault
from standfest.intake.audit.files import read_piece
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.model import Subject
from standfest.intake.audit.report import FINDINGS_SHOWN, FindingReport, shown
from standfest.intake.receipt_log import receipt_files
from standfest.intake.receipts import Receipt

_BATCH = 200
_THOROUGH_BATCH = 50
_WAIT_S = 1.0  # what is on its way from journal to database has arrived by then
_TRIES = 8

Advance = Callable[[str, int], None]
"""Called with "receipts" and the bytes read, or "orders" and the positions passed, since it was last called."""


class CannotLook(StandfestError):
    """The database or the receipts cannot be read now: the audit can say nothing."""

    exit_code = 2


class WholePass(msgspec.Struct, frozen=True):
    """What a whole pass found."""

    acknowledged: int
    """Receipts."""
    found: int
    """Receipts whose order was found as it was acknowledged."""
    waiting: int
    """Receipts among them whose order is in the journal still."""
    orders: int
    """Orders in the database that were looked at."""
    missing: int
    doubled: int
    altered: int
    unknown: int
    """Receipts and orders that could not be looked at to the end."""
    damaged: int
    """Lines in receipt files that are no receipts."""
    findings: list[FindingReport]
    """The first ones."""
    faults: list[Fault] = []
    """What is wrong with receipt files, seals, stock or feed, as far as that was asked."""

    @property
    def well(self) -> bool:
        """Whether all is as it was acknowledged."""
        return not (self.missing or self.doubled or self.altered or self.unknown or self.damaged or self.faults)


async def extent(directories: Mapping[str, Path], looks: Looks) -> tuple[int, int]:
    """How much a whole pass has before it: bytes of receipts, and ingest positions.

    Raises:
        CannotLook: the database does not answer.
    """
    positions = await looks.last_position()
    if positions is None:
        raise CannotLook("the database does not answer; see `standfest status`, then try again")
    paths = [path for directory in directories.values() for path in receipt_files(directory)]
    return sum(_size(path) for path in paths), positions


async def whole_pass(directories: Mapping[str, Path], looks: Looks, advance: Advance) -> WholePass:
    """Looks at everything once, and thoroughly at what seemed wrong.

    Args:
        directories: of receipts, by node.
        looks: what is looked with.
        advance: told how far it is.

    Raises:
        CannotLook: the database went away, or a receipt file cannot be read.
    """
    work = _Work(looks, advance)
    for directory in directories.values():
        for path in await asyncio.to_thread(receipt_files, directory):
            await work.file(path)
    await work.orders()
    return await work.end()


class _Work:
    def __init__(self, looks: Looks, advance: Advance) -> None:
        self._looks = looks
        self._advance = advance
        self._findings = Findings()
        self._suspects: dict[UUID, _Suspected] = {}
        self._acknowledged = self._found = self._waiting = self._orders = self._unknown = self._damaged = 0

    async def file(self, path: Path) -> None:
        """All receipts of a file."""
        offset, more = 0, True
        while more:
            try:
                piece = await asyncio.to_thread(read_piece, path, offset, _BATCH)
            except FileNotFoundError:
                return  # audited and removed meanwhile
            except OSError as error:
                raise CannotLook(f"{path}: {error.strerror}; run the audit as the user who owns the home") from error
            self._damaged += piece.damaged
            await self._receipts([read.entry.receipt for read in piece.lines])
            self._advance("receipts", piece.end - offset)
            offset, more = piece.end, piece.more

    async def orders(self) -> None:
        """All orders of the database.

        Raises:
            CannotLook: the database went away, and did not come back for a while.
        """
        after, tries = 0, _TRIES
        while True:
            seen = await self._looks.glance_at_orders(after, 2**62, _BATCH)
            if seen is None:
                tries -= 1
                if not tries:
                    raise CannotLook("the database went away; see `standfest status`, then try again")
                await asyncio.sleep(_WAIT_S)
                continue
            wrong, positions = seen
            if not positions:
                return
            self._orders += len(positions)
            for order_id in wrong:
                await self._suspect(Subject(order_id))
            self._advance("orders", positions[-1] - after)
            after, tries = positions[-1], _TRIES

    async def end(self) -> WholePass:
        """The last thorough looks, and the sums."""
        await self._examine()
        counts = self._findings.counts()
        return WholePass(
            acknowledged=self._acknowledged,
            found=self._found,
            waiting=self._waiting,
            orders=self._orders,
            missing=counts["missing"],
            doubled=counts["doubled"],
            altered=counts["altered"],
            unknown=self._unknown,
            damaged=self._damaged,
            findings=[shown(finding) for finding in self._findings.all()[:FINDINGS_SHOWN]],
        )

    async def _receipts(self, receipts: Sequence[Receipt]) -> None:
        self._acknowledged += len(receipts)
        glances = await self._looks.glance_at_receipts(receipts) if receipts else []
        for receipt, glance in zip(receipts, glances, strict=True):
            if glance in ("found", "waits"):
                self._found += 1
                self._waiting += glance == "waits"
            else:
                await self._suspect(Subject(receipt.order_id, receipt))

    async def _suspect(self, subject: Subject) -> None:
        known = self._suspects.setdefault(subject.order_id, _Suspected(subject))
        if subject.receipt is not None:
            known.receipts += 1
            if known.subject.receipt is None:
                known.subject = subject
        if len(self._suspects) >= _THOROUGH_BATCH:
            await self._examine()

    async def _examine(self) -> None:
        """Looks thoroughly at all suspects; what cannot be looked at after some tries stays unknown."""
        for _ in range(_TRIES):
            if not self._suspects:
                return
            await asyncio.sleep(_WAIT_S)
            subjects = [each.subject for each in self._suspects.values()]
            for order_id, examined in (await self._looks.examine(subjects)).items():
                suspected = self._suspects.pop(order_id)
                self._findings.record(suspected.subject, examined)
                self._waiting += suspected.receipts if examined.waits else 0
                self._found += 0 if examined.flaws else suspected.receipts
        self._unknown += len(self._suspects)
        self._suspects.clear()


class _Suspected(msgspec.Struct):
    subject: Subject
    receipts: int = 0
    """How many speak of it."""


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
