"""The account of a replay: every row of the file in exactly one bucket."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from standfest.emergency.drills.replay.plan import Plan, PlannedOrder
from standfest.errors import StandfestError


class RowsUnaccounted(StandfestError):
    """A row is in no bucket or in two: the replay itself is wrong, whatever the cluster did."""


class Bucket(StrEnum):
    """What became of a row."""

    PLACED = "placed"
    CANCELLED = "cancelled"
    CANCELLED_IN_PART = "cancelled_in_part"
    """The row's cancellation found fewer pieces than it asked for; the others are counted."""
    REFUSED = "refused"
    """It is no order by the file itself, or it met a shortage: the API recorded it as declined."""
    REJECTED = "rejected"
    """The API refused it for any other reason: file, key and cluster do not fit together."""
    FAILED = "failed"
    """No definite answer: the order may have been placed or not."""


class Fate(StrEnum):
    """What became of a step of the plan."""

    DONE = "done"
    REFUSED = "refused"
    """An order that is recorded as declined, or the cancellation of one."""
    REJECTED = "rejected"
    """Refused for any other reason, or the cancellation of an order that was."""
    FAILED = "failed"
    """No definite answer."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of one step."""

    fate: Fate
    reason: str = ""
    """Why it was refused, rejected or failed."""
    repeated: bool = False
    """An earlier replay had placed it; this one got the same answer."""
    attempts: int = 0
    elapsed_s: float = 0.0
    """From the first submission to the answer, repeats included."""


@dataclass(frozen=True, slots=True)
class Report:
    """Rows by bucket and reason, and what the orders and cancellations came to."""

    rows: int
    buckets: Mapping[Bucket, int]
    reasons: Mapping[Bucket, Mapping[str, int]]
    pieces_not_cancelled: int
    """Pieces that cancellations asked for and no order had, or that could not be cancelled."""
    orders: Mapping[str, int]
    cancellations: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether nothing failed or was rejected; that every row is accounted for is a condition of there being one."""
        return not self.buckets[Bucket.FAILED] and not self.buckets[Bucket.REJECTED]

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "rows": self.rows,
            **{bucket.value: self.buckets[bucket] for bucket in Bucket},
            "reasons": {bucket.value: dict(reasons) for bucket, reasons in self.reasons.items()},
            "pieces_not_cancelled": self.pieces_not_cancelled,
            "orders": dict(self.orders),
            "cancellations": dict(self.cancellations),
        }


class _Ledger:
    """One entry a row."""

    def __init__(self, plan: Plan) -> None:
        self.entries: dict[int, tuple[Bucket, str]] = {}
        self._rows = plan.rows

    def enter(self, row: int, bucket: Bucket, reason: str = "") -> None:
        if row in self.entries:
            raise RowsUnaccounted(f"row {row} is {bucket} and also {self.entries[row][0]}: report this")
        self.entries[row] = (bucket, reason)

    def close(self) -> None:
        missing = [row for row in range(1, self._rows + 1) if row not in self.entries]
        if missing or len(self.entries) != self._rows:
            raise RowsUnaccounted(
                f"{len(self.entries)} entries for {self._rows} rows, none for {missing[:1]}: report this"
            )


def account(plan: Plan, results: Mapping[str, StepResult]) -> Report:
    """Accounts for every row, given the result of each step by its key. Raises RowsUnaccounted."""
    ledger = _Ledger(plan)
    for row, reason in plan.refused.items():
        ledger.enter(row, Bucket.REFUSED, reason)
    orders: Counter[str] = Counter()
    cancellations: Counter[str] = Counter()
    cancelled: Counter[int] = Counter()
    troubles: defaultdict[int, list[StepResult]] = defaultdict(list)
    for step in plan.steps:
        result = results[step.key]
        if isinstance(step, PlannedOrder):
            _enter_order(ledger, step, result)
            orders.update(["sent", *_order_counts(result)])
            continue
        cancellations.update(["sent", result.fate])
        for part in step.parts:
            if result.fate is Fate.DONE:
                cancelled[part.row] += part.quantity
            else:
                troubles[part.row].append(result)
    for row, asked in plan.asked.items():
        if row not in plan.refused:
            ledger.enter(row, *_cancellation_entry(asked, cancelled[row], troubles[row]))
    ledger.close()
    buckets = Counter(bucket for bucket, _ in ledger.entries.values())
    reasons: defaultdict[Bucket, Counter[str]] = defaultdict(Counter)
    for bucket, reason in ledger.entries.values():
        if reason:
            reasons[bucket][reason] += 1
    not_cancelled = sum(plan.asked.values()) - sum(cancelled.values())
    return Report(plan.rows, buckets, reasons, not_cancelled, orders, cancellations)


def _order_counts(result: StepResult) -> list[str]:
    """What an order counts as. Its state is not looked at: that of a repeat is today's, not the first answer's."""
    if result.fate is Fate.DONE:
        return ["placed", "repeated"] if result.repeated else ["placed"]
    return ["declined"] if result.fate is Fate.REFUSED else [result.fate]


_BUCKETS = {
    Fate.DONE: Bucket.PLACED,
    Fate.REFUSED: Bucket.REFUSED,
    Fate.REJECTED: Bucket.REJECTED,
    Fate.FAILED: Bucket.FAILED,
}
"""Of an order's rows."""


def _enter_order(ledger: _Ledger, order: PlannedOrder, result: StepResult) -> None:
    for line in order.lines:
        ledger.enter(line.row, _BUCKETS[result.fate], result.reason)


def _cancellation_entry(asked: int, cancelled: int, troubles: list[StepResult]) -> tuple[Bucket, str]:
    # The worst that befell a part of the row is what the row is: it must not be hidden by what else went well.
    for worst in (Fate.FAILED, Fate.REJECTED):
        for trouble in troubles:
            if trouble.fate is worst:
                return _BUCKETS[worst], trouble.reason
    if cancelled == asked:
        return Bucket.CANCELLED, ""
    if cancelled:
        return Bucket.CANCELLED_IN_PART, troubles[0].reason if troubles else ""
    return Bucket.REFUSED, troubles[0].reason
