"""What of a measurement is a violation, and that the worst outcomes are recorded as well."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from standfest.emergency.loops import LoopsFailed
from standfest.errors import StandfestError
from tests.support.loops import loops_that_took
from tests.tables import __main__ as command
from tests.tables import outcomes, table
from tests.tables.measuring import CannotMeasure, json_lines, of_drills, standfest
from tests.tables.outcomes import outcome, under_loops
from tests.tables.slow import ended, of_starved
from tests.tables.table import Measured, Row, Table


def drill(**changes: Any) -> dict[str, Any]:
    """The result of a drill that was passed."""
    passed = {"name": "primary-crash", "ok": True, "errors": [], "acknowledged": 90, "failures_allowed": False}
    counts = {"failed": 0, "lost": 0, "doubled": 0, "altered": 0, "longest_ack_ms": 12.0}
    return {**passed, **counts, "checked": {"ok": True, "findings": {}}, **changes}


BROKEN_RULE = {"ok": False, "errors": ["did not hold: one writer"]}
NOT_CARRIED_OUT = {"name": "api-frozen", "ok": False, "errors": ["it needs a cluster that is well"]}


@pytest.mark.parametrize(
    ("told", "failures", "violations"),
    [
        (drill(), True, 0),
        (drill(failed=7, failures_allowed=True), True, 0),
        (drill(failed=7, failures_allowed=True, **BROKEN_RULE), True, 1),
        (drill(failed=7, failures_allowed=True, **BROKEN_RULE), False, 1),
        (drill(**BROKEN_RULE), True, 1),
        (drill(**BROKEN_RULE), False, 1),
        (drill(ok=False, failed=7), True, 7),
        (drill(ok=False, failed=7), False, 0),  # told only
        (drill(failed=7, **BROKEN_RULE), False, 1),
        (drill(ok=False, failed=7, checked={"ok": False, "unread": 2, "findings": {"unread": []}}), False, 1),
        (drill(ok=False, lost=2, altered=1, errors=["not well"]), True, 3),
        (NOT_CARRIED_OUT, True, 1),
        (NOT_CARRIED_OUT, False, 1),
    ],
)
def test_every_drill_that_is_not_ok_is_a_violation(told: dict[str, Any], failures: bool, violations: int) -> None:
    """One at least, whatever else is counted or allowed; but for failures where those are told only."""
    measured = of_drills([drill(), told], failures)
    assert (measured.violations, measured.holds) == (violations, violations == 0)


def test_all_that_is_wrong_with_drills_is_told() -> None:
    """The errors of each, also where submissions failed as well."""
    lossy = drill(ok=False, lost=1, checked={"ok": False, "missing": 1, "findings": {"missing": []}})
    measured = of_drills([drill(failed=7, failures_allowed=True, **BROKEN_RULE)] * 4 + [lossy])
    assert measured.figure.count("primary-crash: did not hold: one writer") == 4
    assert measured.figure.endswith("primary-crash: 1 missing")


@pytest.mark.parametrize(
    ("also", "holds", "told"),
    [
        ({"p99_ms": 900.0, "back_s": 3.0}, True, "p99 0.90 s"),
        ({"p99_ms": None, "back_s": 3.0, "nothing_remains": True}, True, "nothing remained in 1 of 1 runs"),
        ({"p99_ms": None, "back_s": 3.0, "nothing_remains": False}, False, "no p99 in 1 of 1 runs"),
        ({"p99_ms": 900.0}, False, "no back in 1 of 1 runs"),
    ],
)
def test_a_time_that_is_missing_does_not_hold(also: dict[str, Any], holds: bool, told: str) -> None:
    """A percentile may be missing where nothing remained to acknowledge any order with."""
    measured = of_starved([drill(also=also)], 0.75, 2_500.0)
    assert measured.holds is holds
    assert told in measured.figure


def ends_with(error: Exception) -> Callable[[], Measured]:
    """A measurement that ends so."""

    def measure() -> Measured:
        raise error

    return measure


VOID = "the busy loops were to take 50% of the processor and took 40%"


@pytest.mark.parametrize(
    ("error", "told", "holds", "violations"),
    [
        (CannotMeasure("bench ended with 1"), "bench ended with 1", False, 1),
        (StandfestError("no cluster came up"), "no cluster came up", False, 1),
        (subprocess.TimeoutExpired(["up"], 900), "Command '['up']' timed out after 900 seconds", False, 1),
        (AssertionError("a process is left"), "a process is left", False, 1),
        (AssertionError(), "AssertionError", False, 1),
        (LoopsFailed(VOID), f"void: {VOID}", None, 0),
    ],
)
def test_a_row_that_ends_otherwise_is_recorded(
    error: Exception, told: str, holds: bool | None, violations: int
) -> None:
    """As a violation, and as void where the busy loops took another share: no run counts."""
    assert outcome(ends_with(error)) == Measured(told, holds, runs=0, violations=violations)


def test_an_error_is_told_without_the_places_of_this_machine() -> None:
    """Results are committed."""
    measured = outcome(ends_with(CannotMeasure(f"{table.ROOT}/standfest ended with 1")))
    assert measured.figure == "./standfest ended with 1"


def test_after_a_row_that_ends_otherwise_the_next_one_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Both are in the file, and the command fails."""
    rows = (
        Row("first", "", "", 1, 1, lambda _: ends_with(CannotMeasure("it ended with 2"))()),
        Row("second", "", "", 1, 1, lambda _: Measured("well", True)),
    )
    monkeypatch.setattr(table, "FOLDER", tmp_path / "acceptance")
    monkeypatch.setattr(table, "commit", lambda: "abc")
    made = Table("slow", rows)
    monkeypatch.setitem(command.TABLES, "slow", made)
    ended = CliRunner().invoke(command.main, ["slow", "--short"])
    assert (ended.exit_code, [each.measured.figure for each in made.results()]) == (1, ["it ended with 2", "well"])


@pytest.mark.parametrize("code", [0, 1])
def test_a_command_that_prints_no_document_measures_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, code: int
) -> None:
    """Whatever its exit code is."""
    done = SimpleNamespace(returncode=code, stdout="", stderr="it broke")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(CannotMeasure, match=f"standfest bench ended with {code} and printed no document: it broke"):
        standfest(tmp_path, "bench", codes=(0, 1))
    with pytest.raises(CannotMeasure, match=f"falsified ended with {code}: it broke"):
        json_lines("falsified")


@pytest.mark.parametrize(
    ("measure", "error", "found"),
    [
        (lambda: Measured("7 s", True, 2), "", Measured("7 s; taken 50%", True, 2)),
        (lambda: Measured("7 s", True, 2, 0, 900.0), VOID, Measured(f"void: {VOID}; 7 s", None, 0, 0, 900.0)),
        (lambda: Measured("70 s", False, 2), VOID, Measured(f"void: {VOID}; 70 s", None, 0)),
        (lambda: Measured("2 lost", False, 2, 2), VOID, Measured(f"void: {VOID}; 2 lost", False, 0, 2)),
        (ends_with(CannotMeasure("it ended")), VOID, Measured(f"void: {VOID}; it ended", False, 0, 1)),
    ],
)
def test_findings_under_loops_that_took_another_share_are_kept(
    monkeypatch: pytest.MonkeyPatch, measure: Callable[[], Measured], error: str, found: Measured
) -> None:
    """A void measurement says nothing but what must not be at any speed."""
    monkeypatch.setattr(outcomes, "taken", loops_that_took(0.5, error))
    assert under_loops(0.5, measure) == found


UP = '{"verdict": {"up": true, "reasons": []}}'
DEGRADED = '{"verdict": {"up": true, "reasons": ["n2/api is not there", "the audit is behind"]}}'
DOWN = '{"verdict": {"up": false, "reasons": ["no door takes orders"]}}'


@pytest.mark.parametrize(
    ("command", "code", "out", "error", "well", "said"),
    [
        ("up", 0, UP, "waiting for n1", True, ""),
        ("up", 1, DEGRADED, "", True, "up ended with 1: n2/api is not there; the audit is behind"),
        ("status", 1, DEGRADED, "", True, "status ended with 1: n2/api is not there; the audit is behind"),
        (
            "up",
            1,
            "",
            "waiting for n1\nstandfest: etcd is not ready",
            False,
            "up ended with 1: standfest: etcd is not ready",
        ),
        ("status", 1, "", "standfest: no cluster", False, "status ended with 1: standfest: no cluster"),
        ("status", 2, DOWN, "", False, "status ended with 2: no door takes orders"),
        ("up", 1, DOWN, "", False, "up ended with 1: no door takes orders"),
        ("up", 0, "", "", False, "up ended with 0: it said nothing"),
        ("up", -9, UP, "", False, "up ended with -9: it said nothing"),
        ("down", 0, '{"down": true}', "", True, ""),
        (
            "down",
            1,
            "",
            "standfest: these processes survive",
            False,
            "down ended with 1: standfest: these processes survive",
        ),
        ("down", 0, "", "", False, "down ended with 0: it said nothing"),
    ],
)
def test_up_and_status_end_well_where_they_say_that_orders_are_taken(
    command: str, code: int, out: str, error: str, well: bool, said: str
) -> None:
    """Exit code 1 is that of a cluster that is degraded and that of a command that failed."""
    assert ended(command, subprocess.CompletedProcess([], code, out, error)) == (well, said)
