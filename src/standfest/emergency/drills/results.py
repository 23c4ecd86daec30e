"""The results of drills: as a document for programs, and as the table of the documentation."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from standfest.emergency.drills.checker.check import report
from standfest.emergency.drills.checker.model import Verdict, subjects
from standfest.emergency.drills.drill import Drill
from standfest.emergency.drills.runner import Health, Result

Document = Mapping[str, Any]
"""One drill's result as JSON values; its names are a contract that other programs rely on."""


def document(result: Result) -> Document:
    """One drill's result. Orders, unless their name says otherwise; times as in the names."""
    return {
        "faults": list(result.drill.numbers),
        "name": result.drill.name,
        "ok": result.ok,
        "errors": list(result.errors),
        **_figures(result, result.verdict),
        "writes_back_s": _rounded(result.writes_back_s, 2),
        "goal": {name: value for name, value in asdict(result.drill.goal).items() if value is not None},
        "goal_reached": goal_reached(result),
        "proof": dict(result.proof),
        "also": dict(result.also),
        "in_fault": {kind: dict(statuses) for kind, statuses in result.in_fault.items()},
        "failures_allowed": result.drill.failures_allowed,
        "health_before": _health(result.health_before),
        "health_after": _health(result.health_after),
        "seconds": result.plan.seconds,
        "rate_per_s": result.drill.rate_per_s or result.plan.rate_per_s,
        "run": result.plan.run,
        "history": str(result.plan.history),
        "checked": None if result.verdict is None else report(result.verdict),
    }


def not_carried_out(drill: Drill, history: Path, error: str) -> Document:
    """The result of a drill that could not begin, or broke off without a verdict."""
    return {
        "faults": list(drill.numbers),
        "name": drill.name,
        "ok": False,
        "errors": [error],
        "goal": {},
        "history": str(history),
    }


def line(told: Document) -> str:
    """One line for people: the figures, or why it is not passed, and where the history is."""
    if told["ok"]:
        figures = ", ".join(f"{told[name]} {name}" for name in ("acknowledged", "failed", "lost", "doubled", "altered"))
        return f"  passed: {figures}, longest {told['longest_ack_ms']} ms"
    return "  FAILED: " + "; ".join([*told["errors"], *_wrong(told.get("checked") or {})]) + f" (see {told['history']})"


def _wrong(checked: Document) -> Iterator[str]:
    """What the checker found, a kind each with its first finding, and submissions without a good end."""
    for kind, findings in checked.get("findings", {}).items():
        first = findings[0]
        yield f"{checked[kind]} {kind.replace('_', ' ')} ({first['subject']}: {first['what']})"
    for ended in ("failed", "unknown", "refused", "shed"):
        if checked.get(ended):
            yield f"{checked[ended]} {ended}"


def _figures(result: Result, verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {}
    return {
        "submitted": verdict.submitted,
        "acknowledged": verdict.acknowledged,
        "accepted_by_journal": verdict.accepted_by_journal,
        "declined": verdict.declined,
        "failed": result.failed,
        "unknown": verdict.unknown,
        "lost": subjects([*verdict.missing, *verdict.reads_missed]),
        "doubled": subjects(verdict.doubled),
        "altered": subjects(verdict.altered),
        "longest_ack_ms": _rounded(verdict.acknowledged_ms_max, 1),
        "p99_ack_ms": _rounded(verdict.acknowledged_ms_p99, 1),
        "late_ms_max": _rounded(verdict.late_ms_max, 1),
    }


def goal_reached(result: Result) -> bool | None:
    """Whether the drill was as quick as is aimed at; None where nothing is aimed at, or nothing was measured."""
    goal, verdict = result.drill.goal, result.verdict
    pairs = (
        (None if verdict is None else verdict.acknowledged_ms_max, goal.ack_ms_max),
        (result.writes_back_s, goal.writes_back_s_max),
    )
    wanted = [(found, limit) for found, limit in pairs if limit is not None]
    if not wanted:
        return None
    return all(found is not None and found <= limit for found, limit in wanted)


def _health(health: Health) -> dict[str, Any]:
    return {
        "up": health.up,
        "can_lose_a_node": health.can_lose_a_node,
        "reasons": list(health.reasons),
        "waited_s": round(health.waited_s, 1),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


COLUMNS = (
    *("fault", "drill", "submitted", "acknowledged", "of them by the journal", "failed", "lost", "doubled"),
    *("altered", "longest, ms", "goal, ms", "p99, ms", "writes back, s", "goal, s"),
)


def row(told: Document) -> list[str]:
    """A drill's line of the table."""
    goal = told["goal"]
    return [
        ", ".join(str(number) for number in told["faults"]),
        told["name"] + ("" if told["ok"] else " ✗"),
        *(_cell(told.get(name)) for name in ("submitted", "acknowledged", "accepted_by_journal", "failed")),
        *(_cell(told.get(name)) for name in ("lost", "doubled", "altered")),
        _cell(told.get("longest_ack_ms"), 0),
        _at_most(goal.get("ack_ms_max")),
        _cell(told.get("p99_ack_ms"), 0),
        _cell(told.get("writes_back_s"), 1),
        _at_most(goal.get("writes_back_s_max")),
    ]


def _cell(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _at_most(limit: float | None) -> str:
    return "" if limit is None else f"≤ {limit:.0f}"


_ADDED = ("submitted", "acknowledged", "accepted_by_journal", "failed", "lost", "doubled", "altered")
_WORST = ("longest_ack_ms", "p99_ack_ms", "writes_back_s")


def together(runs: Iterable[Sequence[Document]]) -> list[Document]:
    """One result a drill of several runs: orders are added up, and of times the longest is taken."""
    by_name: dict[str, list[Document]] = {}
    for told in itertools.chain.from_iterable(runs):
        by_name.setdefault(told["name"], []).append(told)
    return [
        {
            **each[0],
            "ok": all(told["ok"] for told in each),
            **{name: _over(sum, each, name) for name in _ADDED},
            **{name: _over(max, each, name) for name in _WORST},
        }
        for each in by_name.values()
    ]


def _over(how: Callable[[list[float]], float], each: Sequence[Document], name: str) -> float | None:
    known = [told[name] for told in each if told.get(name) is not None]
    return how(known) if known else None


def markdown(results: Sequence[Document]) -> str:
    """The table of the documentation."""
    lines = [COLUMNS, *([["---"] * 2 + ["---:"] * (len(COLUMNS) - 2)]), *(row(told) for told in results)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
