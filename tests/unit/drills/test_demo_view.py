"""What the demonstration shows at its end."""

import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from standfest.cli.demo_view import show
from standfest.cli.drill_progress import DrillProgress
from standfest.emergency.drills.checker.model import Finding
from standfest.emergency.drills.runner import Phase, Result
from tests.unit.drills.results import made


def result(missing: Sequence[Finding] = (), **changes: Any) -> Result:
    """A demonstration in which 90 of 100 orders were acknowledged."""
    return made(missing=missing, **changes)


def shown(of: Result) -> str:
    """The text of it."""
    console = Console(file=io.StringIO(), width=100)
    show(console, of)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def figure(text: str, name: str) -> str:
    """The word after the name in its line of the table."""
    return next(line for line in text.splitlines() if line.strip().startswith(name)).split(name)[1].split()[0]


def test_a_good_end() -> None:
    """Figures, the proof that the fault happened, and what to try next."""
    text = shown(result())
    assert {name: figure(text, name) for name in ("acknowledged", "missing", "doubled", "altered", "failed")} == {
        "acknowledged": "90",
        "missing": "0",
        "doubled": "0",
        "altered": "0",
        "failed": "0",
    }
    assert figure(text, "longest time to acknowledgement") == "4.2"
    assert figure(text, "database writes back after") == "3.5"
    assert "Killed n1/postgres (pid 7) with SIGKILL; n2 took over (timeline 1 to 2)." in text
    assert "Every acknowledged order is there, once, as it was sent." in text
    assert "./standfest status" in text


def test_a_bad_end() -> None:
    """What is wrong is named, as many orders as it concerns, and nothing claims that all is well."""
    text = shown(result([Finding("n1", "not in the database"), Finding("n1", "the API answers 404")], unknown=3))
    assert figure(text, "missing") == "1"
    assert figure(text, "failed") == "3"
    assert "missing: n1: not in the database" in text
    assert "Every acknowledged order" not in text


def test_progress_without_a_terminal() -> None:
    """Where nobody watches, one line a phase is all that is said."""
    console = Console(file=io.StringIO(), width=100)
    with DrillProgress(console) as progress:
        for _ in range(3):
            progress.tell(Phase.FLOW, {})
    assert isinstance(console.file, io.StringIO)
    assert [line.split("s  ")[1] for line in console.file.getvalue().splitlines()] == ["orders flow"]
