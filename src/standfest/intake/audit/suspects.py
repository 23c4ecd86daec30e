"""Orders that seemed wrong at a quick look and wait for a thorough one, and findings that are looked at again."""

import time
from uuid import UUID

import msgspec

from standfest.intake.audit.findings import Findings
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.model import Subject
from standfest.intake.receipts import Receipt

SUSPECTS_MAX = 2_000
"""More are left out: the next full pass comes upon them again."""
_WAIT_S = 1.0  # what is on its way from journal to database has arrived by then
_BATCH = 100
_FINDINGS_AGAIN_S = 4.0


class _Suspect(msgspec.Struct, frozen=True):
    subject: Subject
    due: float
    """Monotonic."""


class Suspects:
    """Orders that get a thorough look."""

    def __init__(self, looks: Looks, findings: Findings) -> None:
        self._looks = looks
        self._findings = findings
        self._suspects: dict[UUID, _Suspect] = {}
        self._findings_due = 0.0
        self._doubts = findings.doubts
        self._next_finding = 0

    @property
    def count(self) -> int:
        """Orders that wait for their look: what they are is not known."""
        return len(self._suspects)

    def add(self, order_id: UUID, receipt: Receipt | None = None) -> None:
        """Has an order looked at in a second; one with a finding is looked at anyway."""
        known = self._suspects.get(order_id)
        if (known is None and len(self._suspects) >= SUSPECTS_MAX) or (
            receipt is None and self._findings.has(order_id)
        ):
            return
        if known is None or known.subject.receipt is None:
            due = time.monotonic() + _WAIT_S if known is None else known.due
            self._suspects[order_id] = _Suspect(Subject(order_id, receipt), due)

    def pass_ended(self) -> None:
        """Says that a full pass over the receipts has ended."""
        self._findings.doubt_again()

    async def look(self) -> None:
        """Looks thoroughly at what is due; what could not be looked at stays."""
        self._strip()
        if not (self._suspects or self._findings.all()) or not await self._looks.database_there():
            return
        now = time.monotonic()
        due = [suspect.subject for suspect in self._suspects.values() if suspect.due <= now][:_BATCH]
        for subject in due:
            del self._suspects[subject.order_id]
        for subject in await self._examine(due):
            self._suspects.setdefault(subject.order_id, _Suspect(subject, now + _WAIT_S))
        if now >= self._findings_due:
            self._findings_due = now + _FINDINGS_AGAIN_S
            await self._examine(self._some_findings())

    def _strip(self) -> None:
        """Lets go of receipts that may be nobody's."""
        if self._doubts == self._findings.doubts:
            return
        self._doubts = self._findings.doubts
        for order_id, suspect in self._suspects.items():
            self._suspects[order_id] = _Suspect(Subject(order_id), suspect.due)

    async def _examine(self, subjects: list[Subject]) -> list[Subject]:
        """Records what is found; returns those of which nothing could be known."""
        if not subjects:
            return []
        examined = await self._looks.examine(subjects)
        for subject in subjects:
            if subject.order_id in examined:
                self._findings.record(subject, examined[subject.order_id])
        return [subject for subject in subjects if subject.order_id not in examined]

    def _some_findings(self) -> list[Subject]:
        """The next findings in turn, a batch of them."""
        findings = self._findings.all()
        if self._next_finding >= len(findings):
            self._next_finding = 0
        batch = findings[self._next_finding : self._next_finding + _BATCH]
        self._next_finding += _BATCH
        receipts = {finding.order_id: finding.receipt for finding in batch if finding.receipt is not None}
        return [Subject(order_id, receipts.get(order_id)) for order_id in {finding.order_id for finding in batch}]
