"""What the auditors of all nodes say, added up."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from standfest.intake.audit.faults import Fault
from standfest.intake.audit.model import FLAW_KINDS, FlawKind
from standfest.intake.audit.report import FINDINGS_SHOWN, FindingReport, Report


class Sums(msgspec.Struct, frozen=True):
    """The cluster's receipts and orders. Sums count receipts; an order that two nodes found wrong counts once."""

    nodes: int
    """That answered."""
    acknowledged: int
    found: int
    waiting: int
    missing: int
    doubled: int
    altered: int
    unknown: int
    damaged: int
    lag_s: float
    """The largest."""
    receipts_unaudited_bytes: int
    receipts_kept_bytes: int
    receipts_pass_age_s: float
    """The largest."""
    orders_pass_age_s: float | None
    """Of the node that goes over all orders; None while none does."""
    orders_unaudited: int
    silent: list[str]
    """Nodes that did not answer, each with the reason: of their receipts nothing is known."""
    findings: list[FindingReport]
    receipts_given: int
    """Receipts that API processes say they gave since each of them began."""
    receipts_rewritten: int
    orders_unreceipted: int
    seals: int
    """The largest."""
    books_pass_age_s: float | None
    """Of the node that looks at stock and feed; None while none does."""
    faults: list[Fault]
    fault_counts: dict[str, int]
    """The sums over the nodes."""

    @property
    def well(self) -> bool:
        """Whether all is as it was acknowledged, and every node says so."""
        wrong = (
            self.missing,
            self.doubled,
            self.altered,
            self.unknown,
            self.damaged,
            len(self.silent),
            len(self.fault_counts),
        )
        return not any(wrong)


def add_up(reports: Sequence[Report], silent: Sequence[str] = ()) -> Sums:
    """The sums of at least one report."""
    findings = {(finding.order_id, finding.kind): finding for report in reports for finding in report.findings}
    counts = Counter(kind for _, kind in findings)
    ages = [report.orders_pass_age_s for report in reports if report.orders_pass_age_s is not None]
    books = [report.books_pass_age_s for report in reports if report.books_pass_age_s is not None]
    return Sums(
        nodes=len(reports),
        acknowledged=sum(report.acknowledged for report in reports),
        found=sum(report.found for report in reports),
        waiting=sum(report.waiting for report in reports),
        **{kind: counts[kind] + _not_shown(reports, kind) for kind in FLAW_KINDS},
        unknown=sum(report.unknown for report in reports),
        damaged=sum(report.damaged for report in reports),
        lag_s=max(report.lag_s for report in reports),
        receipts_unaudited_bytes=sum(report.receipts_unaudited_bytes for report in reports),
        receipts_kept_bytes=sum(report.receipts_kept_bytes for report in reports),
        receipts_pass_age_s=max(report.receipts_pass_age_s for report in reports),
        orders_pass_age_s=min(ages) if ages else None,
        orders_unaudited=sum(report.orders_unaudited for report in reports),
        silent=list(silent),
        findings=list(findings.values())[:FINDINGS_SHOWN],
        receipts_given=sum(report.receipts_given for report in reports),
        receipts_rewritten=sum(report.receipts_rewritten for report in reports),
        orders_unreceipted=sum(report.orders_unreceipted for report in reports),
        seals=max(report.seals for report in reports),
        books_pass_age_s=min(books) if books else None,
        faults=[fault for report in reports for fault in report.faults][:FINDINGS_SHOWN],
        fault_counts=dict(sum((Counter(report.fault_counts) for report in reports), Counter[str]())),
    )


def _not_shown(reports: Sequence[Report], kind: FlawKind) -> int:
    """Orders that reports count and do not name."""
    return sum(getattr(report, kind) - sum(finding.kind == kind for finding in report.findings) for report in reports)
