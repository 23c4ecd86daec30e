"""What an auditor says of itself: as a document, and as figures for Prometheus."""

from collections.abc import Callable, Iterator
from typing import get_args

import msgspec
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from standfest.domain.identity import order_number
from standfest.intake.audit.faults import Fault, FaultKind
from standfest.intake.audit.findings import Finding

FINDINGS_SHOWN = 1_000


class FindingReport(msgspec.Struct, frozen=True):
    """A finding as it is shown."""

    order_id: str
    number: str
    kind: str
    detail: str
    found_at: float
    """Seconds since 1970."""
    acknowledged: bool
    """A receipt speaks of the order."""


class Report(msgspec.Struct, frozen=True):
    """How the receipts of one node compare with what is stored. Sums count receipts; findings are orders."""

    node: str
    acknowledged: int
    """Receipts that were read."""
    found: int
    """Receipts whose order was found, in the database or in the journal, with the content hash that was acknowledged.
    Whether the rows of an order still give that hash is looked at by the node that goes over all orders: `altered`."""
    waiting: int
    """Receipts among them whose order is in the journal still."""
    missing: int
    doubled: int
    altered: int
    unknown: int
    """Receipts and orders of which it is not known now: database or journal could not be asked."""
    damaged: int
    """Lines in receipt files that are no receipts."""
    lag_s: float
    """Age of the oldest receipt that is not settled."""
    receipts_unaudited_bytes: int
    receipts_kept_bytes: int
    receipts_pass_age_s: float
    """Time since the last full pass over this node's receipts ended."""
    orders_pass_age_s: float | None
    """The same for all orders in the database; None where another node looks at them."""
    orders_unaudited: int
    """New orders in the database that this node should have looked at by now."""
    findings: list[FindingReport] = []
    """The oldest ones."""
    receipts_given: int = 0
    """Receipts that this node's API processes say they gave since each of them began."""
    receipts_rewritten: int = 0
    """Receipts that were lost with processes and that this node's audit wrote anew, ever."""
    receipts_disturbed: int = 0
    """How often API processes found their open receipt file removed, shortened or replaced."""
    orders_unreceipted: int = 0
    """Orders whose receipt was not seen yet, by the node that goes over all orders."""
    seals: int = 0
    """Sealed blocks of ingest positions of which this node keeps a copy."""
    books_pass_age_s: float | None = None
    """Time since stock and feed were last looked at; None where another node looks at them."""
    faults: list[Fault] = []
    """What is wrong with something else than one order, the oldest ones."""
    fault_counts: dict[str, int] = {}
    """Faults by kind, without kinds that have none."""

    @property
    def well(self) -> bool:
        """Whether all that was acknowledged is there, once, as it was agreed, as far as is known."""
        wrong = (self.missing, self.doubled, self.altered, self.unknown, self.damaged, len(self.fault_counts))
        return not any(wrong)


def shown(finding: Finding) -> FindingReport:
    """A finding without what its receipt says."""
    return FindingReport(
        order_id=str(finding.order_id),
        number=order_number(finding.order_id),
        kind=finding.kind,
        detail=finding.detail,
        found_at=finding.found_at,
        acknowledged=finding.receipt is not None,
    )


_FIGURES = (
    ("acknowledged", "Receipts that this node gave and the audit has read."),
    ("found", "Receipts whose order was found as it was acknowledged."),
    ("missing", "Orders that were acknowledged and are stored nowhere. Must be 0."),
    ("doubled", "Orders that are stored more than once. Must be 0."),
    ("altered", "Orders that are not what was agreed. Must be 0."),
    ("unknown", "Receipts and orders of which nothing is known now: database or journal could not be asked."),
    ("damaged", "Lines in receipt files that are no receipts."),
)


_MORE_FIGURES = (
    ("receipts_given", "Receipts that API processes say they gave since each of them began."),
    ("receipts_rewritten", "Receipts that were lost with processes and that the audit wrote anew."),
    ("receipts_disturbed", "How often API processes found their open receipt file removed, shortened or replaced."),
    ("orders_unreceipted", "Orders whose receipt was not seen yet."),
    ("seals", "Sealed blocks of ingest positions of which this node keeps a copy."),
)


class AuditFigures(Collector):
    """An auditor's metrics, made from its report."""

    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures as they are now."""
        report = self._report()
        for name, text in _FIGURES:
            yield _gauge(f"standfest_audit_{name}", text, report.node, getattr(report, name))
        yield _gauge(
            "standfest_audit_lag_seconds", "Age of the oldest receipt that is not settled.", report.node, report.lag_s
        )
        yield _gauge(
            "standfest_audit_receipts_unaudited_bytes",
            "Receipts on disk that were not read yet.",
            report.node,
            report.receipts_unaudited_bytes,
        )
        yield _gauge(
            "standfest_audit_receipts_kept_bytes", "Receipts on disk.", report.node, report.receipts_kept_bytes
        )
        yield _gauge(
            "standfest_audit_orders_unaudited",
            "New orders in the database that were not looked at yet.",
            report.node,
            report.orders_unaudited,
        )
        for name, text in _MORE_FIGURES:
            yield _gauge(f"standfest_audit_{name}", text, report.node, getattr(report, name))
        faults = GaugeMetricFamily(
            "standfest_audit_faults",
            "What is wrong with receipts, seals, stock, feed, or the audit's own sight. Must be 0.",
            labels=("node", "kind"),
        )
        for kind in get_args(FaultKind):
            faults.add_metric((report.node, kind), report.fault_counts.get(kind, 0))
        yield faults
        ages = GaugeMetricFamily(
            "standfest_audit_last_full_pass_age_seconds",
            "Time since a full pass over receipts, or over the database's orders, ended.",
            labels=("node", "of"),
        )
        ages.add_metric((report.node, "receipts"), report.receipts_pass_age_s)
        if report.orders_pass_age_s is not None:
            ages.add_metric((report.node, "orders"), report.orders_pass_age_s)
        if report.books_pass_age_s is not None:
            ages.add_metric((report.node, "stock and feed"), report.books_pass_age_s)
        yield ages


def _gauge(name: str, text: str, node: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=("node",))
    family.add_metric((node,), value)
    return family
