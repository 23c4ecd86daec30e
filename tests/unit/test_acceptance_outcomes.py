"""What of a measurement is a violation, and that the worst outcomes are recorded as well."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tables.measuring import of_drills
from tests.tables.slow import of_starved


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
