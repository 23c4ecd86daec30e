"""The results of drills as documents and as the documentation's table."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from standfest.emergency.drills.catalogue import DRILLS, NoSuchDrill, find
from standfest.emergency.drills.checker.model import Finding
from standfest.emergency.drills.drill import Goal
from standfest.emergency.drills.results import document, goal_reached, line, markdown, not_carried_out, together
from standfest.emergency.drills.runner import Result
from tests.unit.drills.results import DRILL, made

WRONG = (Finding("n1", "a"), Finding("n1", "b"), Finding("n2", "c"))


def test_a_passed_drill() -> None:
    """The document has the figures that are promised, as JSON."""
    told = json.loads(json.dumps(document(made())))
    assert told["ok"] is True
    assert {name: told[name] for name in ("faults", "submitted", "acknowledged", "accepted_by_journal", "failed")} == {
        "faults": [1],
        "submitted": 100,
        "acknowledged": 90,
        "accepted_by_journal": 40,
        "failed": 0,
    }
    assert (told["lost"], told["doubled"], told["altered"]) == (0, 0, 0)
    assert (told["longest_ack_ms"], told["p99_ack_ms"], told["writes_back_s"]) == (4200.0, 3000.0, 3.46)
    assert told["late_ms_max"] == 5.0
    assert told["in_fault"] == {"reads": {"200": 9}, "cancellations": {"200": 3, "503": 2}}
    assert told["health_after"]["reasons"] == ["n1/postgres is catching up"]


@pytest.mark.parametrize(
    "result",
    [
        made(missing=WRONG),
        made(doubled=WRONG),
        made(altered=WRONG),
        made(reads_missed=WRONG),
        made(unsent=WRONG),
        made(unread=WRONG),
        made(failed=1),
        made(unknown=1),
        made(refused=1),
        made(shed=1),
        made(errors=("the fault did not happen",)),
        replace(made(), verdict=None),
    ],
)
def test_what_fails_a_drill(result: Result) -> None:
    """Anything lost, doubled, altered, failed, unchecked, or a fault that did not happen."""
    assert document(result)["ok"] is False


def test_a_drill_that_failed_says_why() -> None:
    """The line for people names each kind that is wrong with its first finding, and the history, or the figures."""
    assert (
        line(document(made())) == "  passed: 90 acknowledged, 0 failed, 0 lost, 0 doubled, 0 altered, longest 4200.0 ms"
    )
    wrong = made(unsent=WRONG, unread=WRONG[:1], shed=4, errors=("did not hold: 429, not 5xx",))
    assert line(document(wrong)) == (
        "  FAILED: did not hold: 429, not 5xx; 2 unsent (n1: a); 1 unread (n1: a); 4 shed"
        " (see /somewhere/demo-r1.jsonl)"
    )
    broken = not_carried_out(DRILL, Path("/somewhere/h.jsonl"), "not well")
    assert line(broken) == "  FAILED: not well (see /somewhere/h.jsonl)"


def test_findings_are_counted_by_order() -> None:
    """Two findings about one order are one lost order."""
    assert document(made(missing=WRONG))["lost"] == 2


def test_failures_that_are_right() -> None:
    """Where taking orders would be wrong, failed submissions do not fail the drill, and lost ones still do."""
    allowed = replace(DRILL, failures_allowed=True)
    assert document(made(allowed, failed=5, unknown=3))["ok"] is True
    assert document(made(allowed, missing=WRONG))["ok"] is False


def test_goals_are_told_and_decide_nothing() -> None:
    """A goal that was missed is said, and the drill is passed all the same."""
    slow, quick = made(), made(acknowledged_ms_max=400.0)
    assert (goal_reached(slow), slow.ok) == (False, True)
    assert goal_reached(quick) is True
    assert goal_reached(made(replace(DRILL, goal=Goal()))) is None


def test_the_table() -> None:
    """One line a drill, with its goals beside its figures; one that could not begin has a line too."""
    broken = not_carried_out(replace(DRILL, numbers=(2, 3), name="other"), Path("/somewhere/h.jsonl"), "not well")
    head, rule, first, second = markdown([document(made()), broken]).splitlines()
    assert head.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert first.startswith("| 1 | primary-crash | 100 | 90 | 40 | 0 | 0 | 0 | 0 | 4200 | ≤ 500 |")
    assert second.startswith("| 2, 3 | other ✗ | - |")


def test_every_drill_can_be_found() -> None:
    """Names are unique, and `all` is each of them in the order of the catalogue."""
    names = [drill.name for drill in DRILLS]
    assert len(set(names)) == len(names)
    assert find("all") == DRILLS
    assert all(find(name)[0].name == name for name in names)
    with pytest.raises(NoSuchDrill, match="drill list"):
        find("no-such-drill")


def test_runs_together() -> None:
    """Orders of several runs are added up, of times the longest is told, and one run that failed fails the drill."""
    first, second = document(made()), {**document(made(errors=("not well",))), "longest_ack_ms": 9000.0}
    broken = not_carried_out(DRILL, Path("/somewhere/h.jsonl"), "not well")
    [told] = together([[first], [second, broken]])
    assert (told["ok"], told["acknowledged"], told["longest_ack_ms"], told["p99_ack_ms"]) == (
        False,
        180,
        9000.0,
        3000.0,
    )
    [told] = together([[broken]])
    assert told["longest_ack_ms"] is None
