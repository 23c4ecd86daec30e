"""What a drill's history says was acknowledged in a span of time, for rules that hold only while a fault lasts."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standfest.emergency.drills.history import read_history
from standfest.emergency.drills.stage import Stage

ENDED = ("ok", "fail", "unknown")
SETTLE_S = 0.5
"""What was decided before a fault may be answered, and written down, so long after it."""


KEPT_UP_MIN = 0.75
"""Submissions that end ÷ that begin in a span: below, they pile up."""
NO_ANSWER = "none"


def answered(history: Path, began_at: float, ended_at: float) -> dict[str, dict[str, int]]:
    """How many reads of orders and cancellations ended in this span (CLOCK_MONOTONIC) with which HTTP status, the last
    one where the client repeated them."""
    found: dict[str, Counter[str]] = {"reads": Counter(), "cancellations": Counter()}
    for line in read_history(history):
        if not began_at < line["t"] < ended_at:
            continue
        status = str(line.get("status") or NO_ANSWER)
        if line["op"] == "read":
            found["reads"][status] += 1
        elif line["op"] in ENDED and line["kind"] == "cancel":
            found["cancellations"][status] += 1
    return {kind: dict(sorted(statuses.items())) for kind, statuses in found.items()}


@dataclass
class Span:
    """From the moment that this is made, SETTLE_S later, until `end`."""

    stage: Stage
    began_at: float = 0.0
    ended_at: float | None = None

    def __post_init__(self) -> None:
        """Starts the clock."""
        self.began_at = time.monotonic() + SETTLE_S

    def end(self) -> None:
        """What is acknowledged from now on does not count."""
        self.ended_at = time.monotonic()

    def placed(self) -> Counter[int]:
        """Orders acknowledged in the span, by HTTP status."""
        return Counter(line["status"] for line in self._ended() if line["op"] == "ok" and line["kind"] == "place")

    def p99_ms(self) -> float | None:
        """The 99th percentile of the times from a first submission in the span to its acknowledgement; None where there
        is none. To be asked when all of them have ended."""
        invoked: dict[str, float] = {}
        found = []
        for line in read_history(self.stage.history.path):
            if line["op"] == "invoke" and self._covers(line):
                invoked[line["key"]] = line["t"]
            elif line["op"] == "ok" and line["kind"] == "place" and line["key"] in invoked:
                found.append(1000 * (line["t"] - invoked[line["key"]]))
        return round(sorted(found)[int(0.99 * len(found))], 1) if found else None

    def answered_otherwise(self, statuses: Collection[int]) -> dict[str, int]:
        """Submissions that ended in the span with another status than these, or without any answer, by status."""
        others = (line.get("status") for line in self._ended() if line.get("status") not in statuses)
        return dict(sorted(Counter(str(status or NO_ANSWER) for status in others).items()))

    def piles_up(self) -> bool:
        """Whether clearly fewer submissions ended in the span than began."""
        lines = read_history(self.stage.history.path)
        began = sum(1 for line in lines if line["op"] == "invoke" and self._covers(line))
        return len(self._ended()) < KEPT_UP_MIN * began

    def acknowledged(self) -> int:
        """Whatever was acknowledged in the span, orders and cancellations."""
        return sum(line["op"] == "ok" for line in self._ended())

    def broken(self) -> int:
        """Connections to a door that were not made, or broke before a whole answer, of what ended in the span: an
        attempt that another one of the same request overtook is none."""
        return sum(line.get("broken", 0) for line in self._ended())

    def repeated(self) -> int:
        """Submissions that ended in the span and took more than one attempt: also where an answer was slow, as a client
        asks the other door then."""
        return sum(line["attempts"] > 1 for line in self._ended())

    def _ended(self) -> list[Mapping[str, Any]]:
        return [line for line in read_history(self.stage.history.path) if line["op"] in ENDED and self._covers(line)]

    def _covers(self, line: Mapping[str, Any]) -> bool:
        until = time.monotonic() if self.ended_at is None else self.ended_at
        return bool(self.began_at < line["t"] < until)
