"""The verdict: history and state in, figures and findings out. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from . import orders, stock
from .model import Finding, History, Outcome, State, Submission, Verdict


def decide(history: History, state: State) -> Verdict:
    """Compares what a drill recorded with what is there now."""
    ended = Counter(sent.outcome for sent in history.submissions)
    found = orders.examine(history.submissions, history.cancellations, state)
    counted = stock.examine(history, state)
    accepted_declined = _accepted_declined(history, state)
    refused_for_stock = [sent for sent in history.submissions if sent.outcome is Outcome.DECLINED]
    times_ms = sorted(
        (sent.answered_at - sent.sent_at) * 1000
        for sent in history.submissions
        if sent.outcome is Outcome.ACKNOWLEDGED and sent.answered_at is not None and sent.sent_at is not None
    )
    lateness_ms = [
        (sent.sent_at - sent.due_at) * 1000
        for sent in history.submissions
        if sent.sent_at is not None and sent.due_at is not None
    ]
    return Verdict(
        submitted=len(history.submissions) - ended[Outcome.SHED],
        acknowledged=ended[Outcome.ACKNOWLEDGED],
        accepted_by_journal=sum(sent.by_journal for sent in history.submissions),
        accepted_declined=len(accepted_declined),
        declined=ended[Outcome.DECLINED],
        refused=ended[Outcome.REFUSED],
        failed=ended[Outcome.FAILED],
        unknown=ended[Outcome.UNKNOWN],
        unknown_present=found.unknown_present,
        shed=ended[Outcome.SHED],
        missing=found.missing,
        doubled=found.doubled,
        altered=[*found.altered, *stock.declined_without_need(history, [*refused_for_stock, *accepted_declined])],
        refused_present=found.refused_present,
        unsent=found.unsent,
        stock_mismatches=counted.mismatches,
        reads_missed=[
            Finding(nonce, "a read after its acknowledgement answered 404") for nonce in history.reads_missed
        ],
        unread=[Finding("history", gap) for gap in history.gaps] + found.unread + counted.unread,
        acknowledged_ms_p50=percentile(times_ms, 50),
        acknowledged_ms_p99=percentile(times_ms, 99),
        acknowledged_ms_max=times_ms[-1] if times_ms else None,
        acknowledged_per_s=_rate(history.submissions, len(times_ms)),
        late_ms_max=max(lateness_ms, default=None),
        attempts_max=max((sent.attempts for sent in history.submissions), default=0),
    )


def once_missing(history: History, first: Verdict, last: Verdict) -> Verdict:
    """The last look's verdict, and what only the first one missed: an order is there from the moment on at which its
    answer says so. Not where the journal promised it: then it comes to the database later."""
    promised = {sent.nonce for sent in history.submissions if sent.by_journal}
    gone = [each for each in first.missing if each.subject not in promised and each not in last.missing]
    late = [Finding(each.subject, f"{each.what} at the first look") for each in gone]
    return replace(last, missing=[*last.missing, *late])


def _accepted_declined(history: History, state: State) -> list[Submission]:
    """What was promised by the journal, and declined when it came to the database."""
    declined = {order.nonce for order in state.orders if order.status == "declined"}
    return [sent for sent in history.submissions if sent.by_journal and sent.nonce in declined]


def _rate(submissions: Sequence[Submission], acknowledged: int) -> float | None:
    """Acknowledgements a second, between the first submission and the last answer."""
    begun = [sent.sent_at for sent in submissions if sent.sent_at is not None]
    ended = [sent.answered_at for sent in submissions if sent.answered_at is not None]
    span_s = max(ended) - min(begun) if begun and ended else 0.0
    return acknowledged / span_s if span_s > 0 else None


def percentile(ascending: Sequence[float], per_cent: int) -> float | None:
    """The smallest value that at least so many per cent of the values do not exceed; None without values."""
    if not ascending:
        return None
    return ascending[ceil(len(ascending) * per_cent / 100) - 1]
