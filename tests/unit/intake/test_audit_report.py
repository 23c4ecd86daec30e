"""What auditors found: kept until it is well, and added up over nodes."""

from __future__ import annotations

import datetime
from uuid import UUID

import msgspec

from standfest.domain.identity import order_number
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.model import Examined, Flaw, FlawKind, Subject
from standfest.intake.audit.report import FindingReport, Report
from standfest.intake.audit.sums import add_up
from standfest.intake.receipts import Receipt

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def subject(number: int, *, acknowledged: bool = False) -> Subject:
    """An order, with its receipt where it was acknowledged."""
    identifier = UUID(int=number)
    if not acknowledged:
        return Subject(identifier)
    number_ = order_number(identifier)
    return Subject(identifier, Receipt(identifier, number_, "0" * 64, "0" * 64, AT, "direct", "confirmed"))


def found(*kinds: FlawKind) -> Examined:
    """A look that found these flaws."""
    return Examined(tuple(Flaw(kind, f"it is {kind}") for kind in kinds))


def test_a_finding_stays_until_a_look_as_good_finds_the_order_well() -> None:
    """A look without the receipt says nothing about what a receipt showed; one with it does."""
    findings = Findings()
    findings.record(subject(1, acknowledged=True), found("missing"))
    findings.record(subject(2), found("altered"))
    findings.record(subject(1), found())
    assert findings.counts() == {"missing": 1, "doubled": 0, "altered": 1}
    assert findings.acknowledged() == 1
    findings.record(subject(1, acknowledged=True), found())
    findings.record(subject(2), found())
    assert findings.counts() == {"missing": 0, "doubled": 0, "altered": 0}
    assert not findings.has(UUID(int=2))


def test_the_same_finding_counts_once_and_learns_of_its_receipt() -> None:
    """However often an order is found wrong it is one finding of a kind."""
    findings = Findings()
    for acknowledged in (False, True, False):
        findings.record(subject(1, acknowledged=acknowledged), found("altered", "altered"))
    assert findings.counts()["altered"] == 1
    assert [finding.receipt is not None for finding in findings.all()] == [True]


def test_findings_are_bounded_and_none_goes_uncounted() -> None:
    """Beyond the bound findings are counted; once there is room those that are still wrong are kept."""
    findings = Findings(findings_max=2)
    for number in range(5):
        findings.record(subject(number), found("doubled"))
    assert (len(findings.all()), findings.counts()["doubled"]) == (2, 5)
    findings.record(subject(0), found())
    assert findings.counts()["doubled"] == 1
    findings.record(subject(4), found("doubled"))
    assert [finding.order_id.int for finding in findings.all()] == [1, 4]


def report(node: str, *findings: FindingReport, orders_pass_age_s: float | None = None, **figures: int) -> Report:
    """A node's report with some figures, the others 0."""
    counts = {kind: sum(finding.kind == kind for finding in findings) for kind in ("missing", "doubled", "altered")}
    sums = dict.fromkeys(("acknowledged", "found", "waiting", "unknown", "damaged"), 0) | counts | figures
    return Report(
        node=node,
        lag_s=0.5,
        receipts_unaudited_bytes=1,
        receipts_kept_bytes=2,
        receipts_pass_age_s=3.0,
        orders_pass_age_s=orders_pass_age_s,
        orders_unaudited=0,
        findings=list(findings),
        acknowledged=sums.pop("acknowledged"),
        found=sums.pop("found"),
        waiting=sums.pop("waiting"),
        missing=sums.pop("missing"),
        doubled=sums.pop("doubled"),
        altered=sums.pop("altered"),
        unknown=sums.pop("unknown"),
        damaged=sums.pop("damaged"),
    )


def shown(number: int, kind: str) -> FindingReport:
    """A finding as a report has it."""
    return FindingReport(str(UUID(int=number)), "", kind, "", 0.0, True)


def test_an_order_that_two_nodes_miss_is_missing_once() -> None:
    """Receipts add up, findings are counted by order; what a report counts and does not name counts as well."""
    sums = add_up(
        [
            report("n1", shown(1, "missing"), shown(2, "altered"), acknowledged=10, found=8),
            report("n2", shown(1, "missing"), shown(1, "altered"), acknowledged=5, found=5, orders_pass_age_s=7.0),
            report("n3", acknowledged=1, missing=4),
        ]
    )
    assert (sums.nodes, sums.acknowledged, sums.found) == (3, 16, 13)
    assert (sums.missing, sums.doubled, sums.altered) == (5, 0, 2)
    assert (sums.orders_pass_age_s, sums.receipts_kept_bytes, sums.lag_s) == (7.0, 6, 0.5)
    assert not sums.well


def test_all_is_well_only_where_every_node_says_so() -> None:
    """A node that does not answer, a receipt of which nothing is known, a damaged line and a fault are not well."""
    well = report("n1", acknowledged=3, found=3)
    assert add_up([well]).well
    assert not add_up([well], ["n2: no answer"]).well
    assert not add_up([well, msgspec.structs.replace(well, fault_counts={"stock": 1})]).well
    for figure in ("unknown", "damaged", "missing", "doubled", "altered"):
        assert not add_up([well, msgspec.structs.replace(well, **{figure: 1})]).well
