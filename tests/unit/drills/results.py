"""Results of drills, made up."""

from pathlib import Path
from typing import Any

from standfest.emergency.drills.checker.model import Verdict
from standfest.emergency.drills.drill import Drill, Goal, Proof
from standfest.emergency.drills.runner import Health, Plan, Result
from standfest.emergency.drills.stage import Stage

PROOF = {"killed": "n1/postgres (pid 7)", "new_primary": "n2", "timeline_before": 1, "timeline_after": 2}


async def _no_fault(_: Stage) -> Proof:
    raise AssertionError("a made-up drill is not carried out")


DRILL = Drill((1,), "primary-crash", "It is killed.", _no_fault, goal=Goal(ack_ms_max=500, writes_back_s_max=10))


def verdict(**changes: Any) -> Verdict:
    """90 of 100 orders were acknowledged, 10 declined, and nothing is wrong."""
    figures: dict[str, Any] = {
        **{"submitted": 100, "acknowledged": 90, "accepted_by_journal": 40, "accepted_declined": 2, "declined": 10},
        **{"refused": 0, "failed": 0, "unknown": 0, "unknown_present": 0, "shed": 0},
        **{"missing": (), "doubled": (), "altered": (), "refused_present": (), "unsent": (), "stock_mismatches": ()},
        **{"reads_missed": (), "unread": (), "acknowledged_ms_p50": 12.0, "acknowledged_ms_p99": 3000.0},
        **{"acknowledged_ms_max": 4200.0, "acknowledged_per_s": 30.0, "late_ms_max": 5.0, "attempts_max": 3},
    }
    return Verdict(**{**figures, **changes})


def made(drill: Drill = DRILL, errors: tuple[str, ...] = (), **changes: Any) -> Result:
    """A drill that was carried out."""
    return Result(
        drill=drill,
        plan=Plan("r1", 20.0, 40.0, Path("/somewhere/demo-r1.jsonl")),
        proof=PROOF,
        writes_back_s=3.456,
        also={},
        verdict=verdict(**changes),
        in_fault={"reads": {"200": 9}, "cancellations": {"200": 3, "503": 2}},
        health_before=Health(True, True, (), 0.0),
        health_after=Health(True, False, ("n1/postgres is catching up",), 4.0),
        errors=errors,
    )
