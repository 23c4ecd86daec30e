"""What a drill's history says was acknowledged in a span of time, for rules that hold only while a fault lasts."""

import time
from collections import Counter
from dataclasses import dataclass

from standfest.emergency.drills.history import read_history
from standfest.emergency.drills.stage import Stage

SETTLE_S = 0.5
"""What was decided before a fault may be answered, and written down, so long after it."""


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
        until = time.monotonic() if self.ended_at is None else self.ended_at
        found: Counter[int] = Counter()
        for line in read_history(self.stage.history.path):
            if line["op"] == "ok" and line["kind"] == "place" and self.began_at < line["t"] < until:
                found[line["status"]] += 1
        return found

    def repeated(self) -> int:
        """Submissions that ended in the span and took more than one attempt at a door, or were answered by no yes."""
        until = time.monotonic() if self.ended_at is None else self.ended_at
        return sum(
            line["op"] in ("ok", "fail", "unknown") and line["attempts"] > 1 and self.began_at < line["t"] < until
            for line in read_history(self.stage.history.path)
        )
