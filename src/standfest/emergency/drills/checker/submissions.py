"""Reads a drill's history file (JSON lines) into submissions. The format is described where it is written."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from .model import Cancellation, CheckerError, History, Outcome, SentLine, StockCount, Submission

FORMAT = 2
NOT_ATTEMPTED = (None, 408, 429, 503)
"""Last statuses of a submission that failed, and was not refused: nothing of it was sent on (None: no answer)."""

COUNTED = ("invoke", "ok", "fail", "unknown", "shed", "read")
"""What a sender's `end` note counts, by op."""

Entry = Mapping[str, Any]


def load(path: Path) -> History:
    """The history in this file; CheckerError where it is not one."""
    try:
        return summarise(_entries(path))
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise CheckerError(f"{path} has a line that is none of a history of format {FORMAT}: {error!r}") from error


def summarise(entries: Iterable[Entry]) -> History:
    """Folds the lines of a history into submissions, each with its last known outcome."""
    invoked: dict[str, Entry] = {}
    ended: dict[str, Entry] = {}
    client: str | None = None
    position: int | None = None
    stock: dict[str, StockCount] = {}
    backorder: set[str] = set()
    reads_missed: dict[str, None] = {}
    tally = _Tally()
    for entry in entries:
        tally.add(entry)
        match entry["op"]:
            case "invoke" | "shed" if entry["key"] in invoked:
                raise CheckerError(f"key {entry['key']} was submitted twice: the history is not one drill's")
            case "invoke" | "shed":
                invoked[entry["key"]] = entry
            case "ok" | "fail" | "unknown":
                ended[entry["key"]] = entry
            case "read" if entry["status"] == 404:
                reads_missed[entry["nonce"]] = None
            case "note" if entry["what"] == "start":
                client = _client(entry, client)
            case "note" if entry["what"] == "opening":
                position = entry["position"]
            case "note" if entry["what"] == "opening-stock":
                stock.update(
                    (sku, StockCount(Decimal(on_hand), Decimal(reserved))) for sku, on_hand, reserved in entry["stock"]
                )
                backorder.update(entry.get("backorder", ()))
    if client is None:
        raise CheckerError("the history has no start note: nothing says which client sent it")
    placed = [(begin, ended.get(key)) for key, begin in invoked.items() if begin["kind"] == "place"]
    cancelled = [(begin, ended.get(key)) for key, begin in invoked.items() if begin["kind"] == "cancel"]
    submissions = [_submission(begin, end) for begin, end in placed]
    return History(
        client=client,
        submissions=submissions,
        cancellations=[_cancellation(begin, end) for begin, end in cancelled if begin["op"] == "invoke"],
        reads_missed=list(reads_missed),
        opening_position=position,
        opening_stock=stock,
        backorder=frozenset(backorder),
        gaps=[*tally.gaps(), *_proves_nothing(submissions)],
    )


class _Tally:
    """Are all lines there that the senders say they wrote?"""

    def __init__(self) -> None:
        self._begun = 0
        self._ended = 0
        self._seen: Counter[str] = Counter()
        self._told: Counter[str] = Counter()

    def add(self, entry: Entry) -> None:
        self._seen[entry["op"]] += 1
        if entry["op"] != "note":
            return
        self._begun += entry["what"] == "start"
        if entry["what"] == "end":
            self._ended += 1
            self._told.update({op: int(entry["counts"].get(op, 0)) for op in COUNTED})

    def gaps(self) -> Iterator[str]:
        if self._ended != self._begun:
            yield f"{self._begun} senders began, {self._ended} ended: what was sent last may not be in it"
            return
        for op in COUNTED:
            if self._seen[op] != self._told[op]:
                yield f"{self._told[op]} {op} lines were written, {self._seen[op]} are in it"


def _proves_nothing(submissions: Sequence[Submission]) -> Iterator[str]:
    if not any(sent.outcome is Outcome.ACKNOWLEDGED for sent in submissions):
        yield "no order in it was acknowledged: it proves nothing"


def _entries(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # The writer was killed in this line: what it began to record may have happened.
            try:
                yield json.loads(line)
            except ValueError as error:
                raise CheckerError(f"{path} line {number} is not JSON ({error}): the file was changed") from error


def _client(entry: Entry, known: str | None) -> str:
    if entry["format"] != FORMAT:
        raise CheckerError(f"the history has format {entry['format']}, expected {FORMAT}: use its own checker")
    client = str(entry["client"])
    if known not in (None, client):
        raise CheckerError(f"the history was sent by two clients, {known} and {client}: check one at a time")
    return client


def _submission(begin: Entry, end: Entry | None) -> Submission:
    content: Entry = begin.get("content", {})
    answer: Entry = end or {}
    return Submission(
        nonce=begin["nonce"],
        key=begin["key"],
        outcome=_outcome(begin, end),
        lines=[
            SentLine(sku, Decimal(quantity), None if price is None else Decimal(price))
            for sku, quantity, price in content.get("lines", ())
        ],
        parties=content["parties"] if begin["op"] == "invoke" else {},
        currency=content.get("currency"),
        payload_sha256=begin.get("payload_sha256"),
        sent_at=begin["t"] if begin["op"] == "invoke" else None,
        due_at=begin.get("due"),
        answered_at=answer.get("t"),
        attempts=answer.get("attempts", 0),
        order_id=answer.get("order_id"),
        order_status=answer.get("order_status"),
        number=answer.get("number"),
        content_hash=answer.get("content_hash"),
        gross=None if answer.get("gross") is None else Decimal(answer["gross"]),
    )


def _cancellation(begin: Entry, end: Entry | None) -> Cancellation:
    content: Entry = begin["content"]
    lines: Iterable[tuple[int, str]] | None = content["lines"]
    return Cancellation(
        nonce=begin["nonce"],
        order_id=content["order_id"],
        outcome=_outcome(begin, end),
        lines=None if lines is None else {position: Decimal(quantity) for position, quantity in lines},
    )


def _outcome(begin: Entry, end: Entry | None) -> Outcome:
    if begin["op"] == "shed":
        return Outcome.SHED
    if end is None or end["op"] == "unknown":
        return Outcome.UNKNOWN
    if end["op"] == "ok":
        return Outcome.ACKNOWLEDGED
    status = end.get("status")
    if status == 409 and end.get("order_id") and begin["kind"] == "place":
        return Outcome.DECLINED
    # A refusal speaks for its own attempt only: after an attempt without an answer it proves nothing.
    if end.get("ambiguous"):
        return Outcome.UNKNOWN
    return Outcome.FAILED if status in NOT_ATTEMPTED else Outcome.REFUSED
