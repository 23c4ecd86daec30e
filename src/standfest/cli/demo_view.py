"""What the demonstration shows: calm progress while it runs, then the verdict."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from standfest.emergency.drills.checker.check import report
from standfest.emergency.drills.checker.model import Finding, Verdict, subjects
from standfest.emergency.drills.demo import CLIENT_DEADLINE_S, Phase, Result

FINDINGS_SHOWN = 5
NEXT_COMMANDS = (
    ("./standfest status", "what runs where, and whether a node may be lost now"),
    ("./standfest node stop n2", "take a whole node away; bring it back with `node start n2`"),
    ("./standfest demo --seconds 60 --rate 80", "the same again, longer and faster"),
    ("./standfest down", "stop everything; orders are kept"),
)


class DemoProgress:
    """One line a phase; on a terminal also a line with the counts that moves. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._began = time.monotonic()
        self._phase: Phase | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, phase: Phase, counts: Mapping[str, int]) -> None:
        """Takes what the demonstration tells."""
        if phase is not self._phase:
            self._phase = phase
            self._console.print(f"{self._elapsed_s():5.1f} s  {phase.value}", highlight=False)
        if self._console.is_terminal:
            self._live.update(Text(f"         {_counts(counts)}", style="dim"))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began


def _counts(counts: Mapping[str, int]) -> str:
    ended = counts["ok"] + counts["fail"] + counts["unknown"]
    return f"sent {counts['invoke']}   acknowledged {counts['ok']}   under way {counts['invoke'] - ended}"


def show(console: Console, result: Result) -> None:
    """The verdict, what is wrong if anything is, and what to try next."""
    failover, verdict = result.failover, result.verdict
    console.print()
    console.print(
        f"Killed {failover.killed} with SIGKILL; {failover.new_primary} took over "
        f"(timeline {failover.timeline_before} to {failover.timeline_after}).",
        highlight=False,
    )
    console.print(_table(result))
    _show_findings(console, verdict)
    if verdict.ok:
        console.print("Every acknowledged order is there, once, as it was sent.", style="green")
    else:
        console.print("Orders or stock are not as they must be.", style="bold red")
    console.print(f"The history of every order: {result.plan.history}", highlight=False, soft_wrap=True)
    reasons = "; ".join(result.status["verdict"]["reasons"]) or "all is well"
    console.print(f"The cluster stays up ({reasons}). Try next:", highlight=False, soft_wrap=True)
    for command, meaning in NEXT_COMMANDS:
        console.print(f"  {command:<42}{meaning}", highlight=False, soft_wrap=True)


def _table(result: Result) -> Table:
    verdict = result.verdict
    table = Table(box=None, show_header=False, padding=(0, 2), pad_edge=True)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left", style="dim")
    rate = f", {verdict.acknowledged_per_s:.0f} a second" if verdict.acknowledged_per_s else ""
    table.add_row("acknowledged", str(verdict.acknowledged), f"of {verdict.submitted} orders sent{rate}")
    for name, findings in (
        ("missing", verdict.missing),
        ("doubled", verdict.doubled),
        ("altered", verdict.altered),
    ):
        table.add_row(name, _count(findings), "")
    table.add_row("failed", str(verdict.failed + verdict.unknown), f"no answer within {CLIENT_DEADLINE_S:.0f} s")
    table.add_row("declined", str(verdict.declined), "out of stock, recorded")
    if verdict.shed:
        table.add_row("never sent", str(verdict.shed), "too many under way: try a lower rate")
    table.add_row("longest time to acknowledgement", _seconds(verdict.acknowledged_ms_max), "repeats included")
    table.add_row("99 % acknowledged within", _seconds(verdict.acknowledged_ms_p99), "")
    table.add_row("database writes back after", f"{result.failover.writes_back_s:.1f} s", "of the kill")
    return table


def _count(findings: Sequence[Finding]) -> Text:
    return Text(str(subjects(findings)), style="bold red" if findings else "green")


def _seconds(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds / 1000:.1f} s"


def _show_findings(console: Console, verdict: Verdict) -> None:
    kinds = {**verdict.findings, "not readable": verdict.unread}
    for kind, findings in kinds.items():
        for finding in findings[:FINDINGS_SHOWN]:
            text = f"{kind.replace('_', ' ')}: {finding.subject}: {finding.what}"
            console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
        if len(findings) > FINDINGS_SHOWN:
            console.print(f"… and {len(findings) - FINDINGS_SHOWN} more", style="red", highlight=False)


def document(result: Result) -> dict[str, Any]:
    """The result for programs."""
    return {
        "ok": result.verdict.ok,
        "run": result.plan.run,
        "history": str(result.plan.history),
        "seconds": result.plan.seconds,
        "rate_per_s": result.plan.rate_per_s,
        "failover": asdict(result.failover) | {"writes_back_s": round(result.failover.writes_back_s, 3)},
        "verdict": report(result.verdict),
        "cluster": result.status["verdict"],
    }
