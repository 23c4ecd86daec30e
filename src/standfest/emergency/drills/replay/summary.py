"""The whole of what a replay reports: the account of the rows, and how fast the cluster took them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from standfest.emergency.drills.replay.plan import Plan, PlannedOrder
from standfest.emergency.drills.replay.report import Fate, Report, StepResult
from standfest.emergency.drills.replay.run import Sent


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the orders were taken; times in seconds, from an order's first submission to its answer."""

    seconds: float
    orders_per_s: float
    lines_per_s: float
    acknowledged_s_p50: float
    acknowledged_s_p99: float
    acknowledged_s_max: float
    repeats: int
    """Attempts beyond the first, of orders and cancellations."""

    def as_json(self) -> dict[str, float]:
        """The figures for machines, rounded to what they are good for."""
        return {
            "seconds": round(self.seconds, 2),
            "orders_per_s": round(self.orders_per_s, 1),
            "lines_per_s": round(self.lines_per_s, 1),
            "acknowledged_s_p50": round(self.acknowledged_s_p50, 4),
            "acknowledged_s_p99": round(self.acknowledged_s_p99, 4),
            "acknowledged_s_max": round(self.acknowledged_s_max, 4),
            "repeats": self.repeats,
        }


def measure(plan: Plan, sent: Sent) -> Speed:
    """The speed of what was sent; zeros where nothing was acknowledged."""
    orders = [step for step in plan.steps if isinstance(step, PlannedOrder)]
    done = [order for order in orders if sent.results[order.key].fate is Fate.DONE]
    times = sorted(sent.results[order.key].elapsed_s for order in done)
    seconds = max(sent.seconds, 1e-9)
    return Speed(
        sent.seconds,
        len(done) / seconds,
        sum(len(order.lines) for order in done) / seconds,
        _quantile(times, 0.50),
        _quantile(times, 0.99),
        times[-1] if times else 0.0,
        sum(_repeats(result) for result in sent.results.values()),
    )


def whole_report(source: str, report: Report, catalogue: Mapping[str, int], speed: Speed) -> dict[str, Any]:
    """The report that `--json` prints."""
    return {
        "source": source,
        "ok": report.ok,
        **report.as_json(),
        "catalogue": dict(catalogue),
        "speed": speed.as_json(),
    }


def _repeats(result: StepResult) -> int:
    return max(0, result.attempts - 1)


def _quantile(ascending: list[float], share: float) -> float:
    return ascending[min(int(len(ascending) * share), len(ascending) - 1)] if ascending else 0.0
