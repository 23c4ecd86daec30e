"""How the lines of a history become submissions."""

from decimal import Decimal
from typing import Any

import pytest

from standfest.emergency.drills.checker.model import CheckerError, Outcome, StockCount
from standfest.emergency.drills.checker.submissions import summarise

START: dict[str, Any] = {"op": "note", "what": "start", "format": 2, "client": "demo"}
INVOKE: dict[str, Any] = {
    "t": 5.0,
    "op": "invoke",
    "kind": "place",
    "key": "k",
    "nonce": "n",
    "due": 4.9,
    "content": {
        "parties": {"customer": {"name": "Guest"}},
        "currency": "EUR",
        "lines": [["A", "2", None], ["B", "1.50", "0.99"]],
    },
    "payload_sha256": "aa",
}
END: dict[str, Any] = {"t": 6.0, "kind": "place", "key": "k", "nonce": "n", "attempts": 3, "ambiguous": 0}

OUTCOMES: dict[str, tuple[dict[str, Any] | None, Outcome]] = {
    "acknowledged": ({"op": "ok", "status": 201, "order_id": "o", "gross": "3.50"}, Outcome.ACKNOWLEDGED),
    "acknowledged after a broken connection": (
        {"op": "ok", "status": 201, "ambiguous": 1},
        Outcome.ACKNOWLEDGED,
    ),
    "declined": ({"op": "fail", "status": 409, "order_id": "o"}, Outcome.DECLINED),
    "declined after a broken connection": (
        {"op": "fail", "status": 409, "order_id": "o", "ambiguous": 1},
        Outcome.DECLINED,
    ),
    "409 that is no recorded refusal": ({"op": "fail", "status": 409}, Outcome.REFUSED),
    "invalid": ({"op": "fail", "status": 422}, Outcome.REFUSED),
    "invalid after a broken connection": ({"op": "fail", "status": 422, "ambiguous": 1}, Outcome.UNKNOWN),
    "given up": ({"op": "fail", "status": 503}, Outcome.FAILED),
    "no door ever connected": ({"op": "fail", "attempts": 9}, Outcome.FAILED),
    "given up after a broken connection": ({"op": "fail", "status": 503, "ambiguous": 2}, Outcome.UNKNOWN),
    "no answer": ({"op": "unknown", "ambiguous": 1}, Outcome.UNKNOWN),
    "the writer died": (None, Outcome.UNKNOWN),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(name: str) -> None:
    """Each way a submission can end has one outcome, and an unanswered attempt leaves a refusal undecided."""
    end, expected = OUTCOMES[name]
    lines = [START, INVOKE] if end is None else [START, INVOKE, {**END, **end}]
    [submission] = summarise(lines).submissions
    assert submission.outcome is expected


def test_content() -> None:
    """What was sent and answered is read with exact amounts."""
    end = {
        **END,
        "op": "ok",
        "status": 201,
        "order_id": "o",
        "number": "N",
        "content_hash": "cc",
        "gross": "3.50",
    }
    [submission] = summarise([START, INVOKE, end]).submissions
    assert [(line.sku, line.quantity, line.unit_price) for line in submission.lines] == [
        ("A", Decimal(2), None),
        ("B", Decimal("1.5"), Decimal("0.99")),
    ]
    assert submission.parties == {"customer": {"name": "Guest"}}
    assert (submission.sent_at, submission.answered_at, submission.attempts) == (5.0, 6.0, 3)
    assert (submission.order_id, submission.number, submission.gross) == ("o", "N", Decimal("3.5"))


def test_shed() -> None:
    """An arrival that was not sent is a submission that must not be there."""
    shed = {"t": 5.0, "op": "shed", "kind": "place", "key": "k", "nonce": "n", "due": 4.9}
    [submission] = summarise([START, shed]).submissions
    assert submission.outcome is Outcome.SHED


def test_notes_and_reads() -> None:
    """The opening state adds up over its lines, and only a read that answered 404 counts as missed."""
    history = summarise(
        [
            START,
            {"op": "note", "what": "opening", "position": 7},
            {"op": "note", "what": "opening-stock", "stock": [["A", "10", "1"]]},
            {"op": "note", "what": "opening-stock", "stock": [["B", "5", "0"]], "backorder": ["B"]},
            {"op": "note", "what": "something for people"},
            {"op": "read", "key": "k", "nonce": "n", "order_id": "o", "status": 200},
            {"op": "read", "key": "k", "nonce": "n", "order_id": "o", "status": None},
            {"op": "read", "key": "l", "nonce": "m", "order_id": "p", "status": 404},
        ]
    )
    assert history.opening_position == 7
    assert history.opening_stock["B"] == StockCount(Decimal(5), Decimal(0))
    assert sorted(history.opening_stock) == ["A", "B"]
    assert history.backorder == {"B"}
    assert history.reads_missed == ["m"]


def test_cancellation() -> None:
    """A cancellation keeps its order, its quantities by position and its outcome."""
    begin = {
        "op": "invoke",
        "kind": "cancel",
        "key": "c",
        "nonce": "n",
        "content": {"order_id": "o", "lines": [[2, "1.5"]]},
    }
    [cancellation] = summarise([START, begin, {**END, "op": "ok", "kind": "cancel", "key": "c"}]).cancellations
    assert cancellation.lines == {2: Decimal("1.5")}
    assert cancellation.outcome is Outcome.ACKNOWLEDGED


OK: dict[str, Any] = {**END, "op": "ok", "status": 201, "order_id": "o"}


def told(**counts: int) -> dict[str, Any]:
    """A sender's last line."""
    return {"op": "note", "what": "end", "counts": counts}


GAPS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "whole": ([START, INVOKE, OK, told(invoke=1, ok=1, declined=0)], []),
    "cut off": (
        [START, INVOKE, OK],
        ["1 senders began, 0 ended: what was sent last may not be in it"],
    ),
    "a line is gone": (
        [START, INVOKE, OK, told(invoke=2, ok=1, read=1)],
        ["2 invoke lines were written, 1 are in it", "1 read lines were written, 0 are in it"],
    ),
    "a line too many": (
        [START, INVOKE, OK, {**OK, "op": "unknown"}, told(invoke=1, ok=1)],
        [
            "0 unknown lines were written, 1 are in it",
            "no order in it was acknowledged: it proves nothing",
        ],
    ),
    "nothing was sent": ([START, told()], ["no order in it was acknowledged: it proves nothing"]),
    "nothing was acknowledged": (
        [START, INVOKE, {**END, "op": "unknown"}, told(invoke=1, unknown=1)],
        ["no order in it was acknowledged: it proves nothing"],
    ),
}


@pytest.mark.parametrize("name", GAPS)
def test_gaps(name: str) -> None:
    """A history that is not whole, or in which nothing was acknowledged, says so."""
    lines, expected = GAPS[name]
    assert summarise(lines).gaps == expected


@pytest.mark.parametrize(
    "lines",
    [
        [INVOKE],
        [{**START, "format": 1}],
        [START, {**START, "client": "other"}],
        [START, INVOKE, INVOKE],
    ],
    ids=["no start", "another format", "two clients", "one key twice"],
)
def test_refused_histories(lines: list[dict[str, Any]]) -> None:
    """A history that cannot be judged is refused rather than judged in part."""
    with pytest.raises(CheckerError):
        summarise(lines)
