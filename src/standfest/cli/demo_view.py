"""What the demonstration shows in the end: the verdict."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from standfest.emergency.drills.checker.model import Finding, Verdict, subjects
from standfest.emergency.drills.runner import CLIENT_DEADLINE_S, Result

FINDINGS_SHOWN = 5
NEXT_COMMANDS = (
    ("./standfest status", "what runs where, and whether a node may be lost now"),
    ("./standfest node stop n2", "take a whole node away; bring it back with `node start n2`"),
    ("./standfest demo --seconds 60 --rate 80", "the same again, longer and faster"),
    ("./standfest down", "stop everything; orders are kept"),
)


def show(console: Console, result: Result) -> None:
    """The verdict, what is wrong if anything is, and what to try next."""
    proof, verdict = result.proof, result.verdict
    console.print()
    if proof:
        console.print(
            f"Killed {proof['killed']} with SIGKILL; {proof['new_primary']} took over "
            f"(timeline {proof['timeline_before']} to {proof['timeline_after']}).",
            highlight=False,
        )
    for error in result.errors:
        console.print(error, style="bold red", highlight=False, markup=False, soft_wrap=True)
    if verdict is not None:
        console.print(_table(result, verdict))
        _show_findings(console, verdict)
        if verdict.ok:
            console.print("Every acknowledged order is there, once, as it was sent.", style="green")
        else:
            console.print("Orders or stock are not as they must be.", style="bold red")
    console.print(f"The history of every order: {result.plan.history}", highlight=False, soft_wrap=True)
    reasons = "; ".join(result.health_after.reasons) or "all is well"
    console.print(f"The cluster stays up ({reasons}). Try next:", highlight=False, soft_wrap=True)
    for command, meaning in NEXT_COMMANDS:
        console.print(f"  {command:<42}{meaning}", highlight=False, soft_wrap=True)


def _table(result: Result, verdict: Verdict) -> Table:
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
    table.add_row("failed", str(result.failed), f"no answer within {CLIENT_DEADLINE_S:.0f} s")
    table.add_row("declined", str(verdict.declined), "out of stock, recorded")
    if verdict.shed:
        table.add_row("never sent", str(verdict.shed), "too many under way: try a lower rate")
    table.add_row("longest time to acknowledgement", _seconds(verdict.acknowledged_ms_max), "repeats included")
    table.add_row("99 % acknowledged within", _seconds(verdict.acknowledged_ms_p99), "")
    if result.writes_back_s is not None:
        table.add_row("database writes back after", f"{result.writes_back_s:.1f} s", "of the kill")
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
