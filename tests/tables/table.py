"""A table of what is to be reached: its rows, what was measured of them, and what that says.

Results are appended to docs/acceptance/NAME.jsonl, one a line, and kept: what takes long is measured in parts.
"""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "acceptance"
REFERENCE_PER_S = 2_000.0
"""Times hold where pgbench writes as many orders a second on the same cluster."""


class Measured(msgspec.Struct, frozen=True):
    """What one measurement of a row found."""

    figure: str
    """For people."""
    holds: bool | None
    """None: not decided by this measurement alone."""
    runs: int = 1
    violations: int = 0
    """Things that must not be at any speed: lost, doubled, altered, failed, not found."""
    reference_per_s: float | None = None
    """What pgbench wrote on the same cluster in the same run, orders a second; None where no time is judged."""


class Result(msgspec.Struct, frozen=True):
    """A line of the file."""

    row: str
    at: str
    """RFC 3339, UTC."""
    commit: str
    short: bool
    measured: Measured


class Plan(msgspec.Struct, frozen=True):
    """How a row is to be measured."""

    runs: int
    short: bool
    tell: Callable[[str], None]
    """Is told what is being done."""


@dataclass(frozen=True)
class Row:
    """One row."""

    name: str
    """Short, unique in its table."""
    what: str
    goal: str
    runs: int
    """In all; results of several measurements are added up."""
    short_runs: int
    """In the short form; 0: the row has none, its smoke form is in the tests."""
    measure: Callable[[Plan], Measured]


class Table(msgspec.Struct, frozen=True):
    """A table and its file."""

    name: str
    rows: Sequence[Row]

    @property
    def path(self) -> Path:
        """Where its results are."""
        return FOLDER / f"{self.name}.jsonl"

    def results(self) -> list[Result]:
        """All that was ever measured, oldest first."""
        if not self.path.exists():
            return []
        return [msgspec.json.decode(line, type=Result) for line in self.path.read_bytes().splitlines() if line]

    def append(self, row: Row, short: bool, measured: Measured) -> Result:
        """Keeps what was measured just now."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        result = Result(row.name, now, commit(), short, measured)
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(result) + b"\n")
        return result


class Standing(msgspec.Struct, frozen=True):
    """How a row stands by all that was measured of it."""

    row: str
    what: str
    goal: str
    figure: str
    runs: int
    wanted: int
    violations: int
    holds: bool
    decided: bool
    """Whether the newest result says so by itself: else more pairs are to be measured."""
    at: str
    commit: str
    reference_per_s: float | None


def standing(row: Row, results: Sequence[Result]) -> Standing:
    """A row holds where enough runs were made since its last violation, and the newest result holds."""
    own = [each for each in results if each.row == row.name and not each.short]
    since = next((number for number in range(len(own), 0, -1) if own[number - 1].measured.violations), 0)
    counted = own[since:] if since < len(own) else own[-1:]
    runs = sum(each.measured.runs for each in counted)
    violations = sum(each.measured.violations for each in counted)
    newest = own[-1] if own else None
    return Standing(
        row=row.name,
        what=row.what,
        goal=row.goal,
        figure=newest.measured.figure if newest else "never run",
        runs=runs,
        wanted=row.runs,
        violations=violations,
        holds=newest is not None and runs >= row.runs and not violations and newest.measured.holds is True,
        decided=newest is not None and newest.measured.holds is not None,
        at=newest.at if newest else "",
        commit=newest.commit if newest else "",
        reference_per_s=newest.measured.reference_per_s if newest else None,
    )


def commit() -> str:
    """The commit that is measured, with a mark where files differ from it, other than the results themselves."""
    [name, changed] = (
        subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        for command in (
            ["rev-parse", "--short", "HEAD"],
            ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/acceptance"],
        )
    )
    return f"{name}-dirty" if changed else name
