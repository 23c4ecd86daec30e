"""What the audit found wrong. It stays until a later look finds it well; nobody can wave it away."""

import time
from collections import Counter
from collections.abc import Iterable
from uuid import UUID

import msgspec
import structlog

from standfest.domain.identity import order_number
from standfest.intake.audit.model import FLAW_KINDS, Examined, FlawKind, Subject
from standfest.intake.receipts import Receipt

FINDINGS_MAX = 5_000
"""So many are kept one by one; further ones are counted only, each time a pass comes upon them."""

_log = structlog.get_logger(__name__)


class Finding(msgspec.Struct, frozen=True):
    """One order that is missing, doubled or altered."""

    order_id: UUID
    kind: FlawKind
    detail: str
    found_at: float
    """Seconds since 1970."""
    receipt: Receipt | None = None
    """What was acknowledged, where that is known: a later look compares with it again."""


class Findings:
    """All findings of one node, by order and kind."""

    def __init__(self, kept: Iterable[Finding] = (), findings_max: int = FINDINGS_MAX) -> None:
        self._findings = {(finding.order_id, finding.kind): finding for finding in kept}
        self._findings_max = findings_max
        self._beyond: Counter[FlawKind] = Counter()
        self._doubt_since: float | None = None
        self.doubts = 0
        """Grows whenever receipts that were read turn out to be nobody's."""
        self.changes = 0
        """Grows with every change."""

    def all(self) -> list[Finding]:
        """The findings that are kept, oldest first."""
        return list(self._findings.values())

    def counts(self) -> dict[FlawKind, int]:
        """Orders by what is wrong with them, those that are not kept one by one included."""
        counts = Counter(kind for _, kind in self._findings) + self._beyond
        return {kind: counts[kind] for kind in FLAW_KINDS}

    def acknowledged(self) -> int:
        """Orders with a finding that a receipt speaks of."""
        return len({finding.order_id for finding in self._findings.values() if finding.receipt is not None})

    def has(self, order_id: UUID) -> bool:
        """Whether anything is wrong with the order, as far as findings are kept."""
        return any((order_id, kind) in self._findings for kind in FLAW_KINDS)

    def record(self, subject: Subject, examined: Examined) -> None:
        """Takes over what a thorough look found: flaws that are new, and findings that are gone.

        A look without the receipt says nothing about a finding that was made with one.
        """
        flaws = {flaw.kind: flaw.detail for flaw in reversed(examined.flaws)}
        for kind in FLAW_KINDS:
            before = self._findings.get((subject.order_id, kind))
            if kind in flaws:
                self._note(subject, kind, flaws[kind], before)
            elif before is not None and (before.receipt is None or subject.receipt is not None):
                del self._findings[subject.order_id, kind]
                self._beyond.clear()  # there is room: what is wrong with others still is found again, and kept
                self.changes += 1
                _log.warning("audit_finding_gone", reason="a later look finds it well", **_facts(before))

    def doubt(self, since: float) -> None:
        """Lets go of the receipts of what was found since a moment: they came from a file that was another one then.

        What is wrong by the true receipts the next full pass over these finds again.
        """
        self._doubt_since = since
        self.doubts += 1
        for place, finding in self._findings.items():
            if finding.receipt is not None and finding.found_at >= since:
                self._findings[place] = msgspec.structs.replace(finding, receipt=None)

    def doubt_again(self) -> None:
        """The same once more, when the full pass that was under way has ended: it may have read that file before."""
        if self._doubt_since is not None:
            self.doubt(self._doubt_since)
            self._doubt_since = None

    def _note(self, subject: Subject, kind: FlawKind, detail: str, before: Finding | None) -> None:
        if before is not None:
            if before.receipt is None and subject.receipt is not None:
                self._findings[subject.order_id, kind] = msgspec.structs.replace(before, receipt=subject.receipt)
            return
        finding = Finding(subject.order_id, kind, detail, time.time(), subject.receipt)
        _log.error("audit_finding", **_facts(finding), acknowledged=finding.receipt is not None)
        self.changes += 1
        if len(self._findings) < self._findings_max:
            self._findings[subject.order_id, kind] = finding
        else:
            self._beyond[kind] += 1


def _facts(finding: Finding) -> dict[str, str]:
    number = order_number(finding.order_id)
    return {"order_id": str(finding.order_id), "number": number, "kind": finding.kind, "detail": finding.detail}
