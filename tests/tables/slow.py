"""The table "It slows down and does not collapse, on a machine that is short of processor or of disk"."""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from standfest.emergency.drills.catalogue.processor import BACK_S_GOAL, P99_S_GOAL
from tests.support.cluster import LocalCluster, start_cluster
from tests.tables.measuring import STARVING, drills, of_drills, paired, pgbench, ratio, run_drills, standfest, timed
from tests.tables.outcomes import under_loops, voided
from tests.tables.table import Measured, Plan, Row, Table

BEFORE = "1b3a525"
"""The last commit before."""
STARVED = "0.67"
"""A third remains."""
HALF, MOST = 0.5, 0.75
COMMAND_TIMEOUT_S = 900.0
SAID_MAX = 200
"""Characters told of what a command said."""
RATE_AT_HALF = "40"
"""Orders a second in drills on half a machine."""
SPEED, P99 = "straight, orders/s", "half the rate, p99 ms"


def processor_short(share: float) -> Callable[[Plan], Measured]:
    """That share of the processor taken, half of what remains offered."""

    def measure(plan: Plan) -> Measured:
        reference = pgbench()
        told = run_drills(plan, [f"{STARVING}-{100 * share:.0f}"] * plan.runs, side_by_side=1)
        return of_starved(told, share, reference)

    return measure


def of_starved(told: Sequence[Mapping[str, Any]], share: float, reference_per_s: float) -> Measured:
    """What drills under loops say. A time that is missing does not hold: but for the percentile, where nothing remained
    and there was nothing to acknowledge."""
    counted = of_drills(told)
    parts, held = [counted.figure], counted.violations == 0
    seen = [each.get("also", {}) for each in told]
    for name, goal_s, to_s in (("p99_ms", P99_S_GOAL[share], 1e-3), ("back_s", BACK_S_GOAL, 1.0)):
        what = name.partition("_")[0]
        found = [to_s * each[name] for each in seen if each.get(name) is not None]
        if found:
            figure, quick = timed(what, max(found), goal_s, reference_per_s)
            parts.append(figure)
            held &= quick
        excused = sum(
            name == "p99_ms" and each.get(name) is None and bool(each.get("nothing_remains")) for each in seen
        )
        if missing := len(told) - len(found) - excused:
            parts.append(f"no {what} in {missing} of {len(told)} runs")
            held = False
    remained = [each.get("most_per_s", 0.0) for each in seen]
    parts.append(f"remained {', '.join(f'{each:.0f}' for each in remained)} orders/s")
    idle = [each["idle_share"] for each in seen if "idle_share" in each]
    parts.append(f"idle work {', '.join(f'{each:.0%}' for each in idle) or 'not measured'}")
    if nothing := sum(bool(each.get("nothing_remains")) for each in seen):
        parts.append(f"nothing remained in {nothing} of {len(told)} runs")
    return Measured("; ".join(parts), held, len(told), counted.violations, reference_per_s)


def overload(*options: str, whole: bool = True) -> Callable[[Plan], Measured]:
    """More orders than the cluster takes: counts and ratios decide, and times where the whole machine is there."""

    def measure(plan: Plan) -> Measured:
        reference = pgbench()
        seconds, rounds = ("4", 1) if plan.short else ("10", plan.runs)
        command = ("bench", "overload", "--seconds", seconds, "--rounds", str(rounds), *options)
        with tempfile.TemporaryDirectory(prefix="standfest-table-") as home:
            told = standfest(Path(home), *command, codes=(0, 1))
        [bench] = told["benches"]
        parts, held, violations = [], True, 0
        for each in bench["figures"]:
            figure, reached, wrong = judged(each, reference, starved=not whole)
            parts.append(figure)
            held &= reached
            violations += wrong
        for name in ("most, orders/s", "wanted, orders/s", "sent, orders/s"):
            parts.append(f"{name.replace(', orders/s', '')} {bench['rates'][name]['median']:.0f}/s")
        if "taken" in told["measured"]:
            parts.append(f"taken {told['measured']['taken']:.0%}")
        found = Measured("; ".join(parts), held, rounds, violations, reference)
        void = told["measured"].get("void")
        return voided(found, void) if void else found

    return measure


def judged(figure: Mapping[str, Any], reference: float, *, starved: bool) -> tuple[str, bool, int]:
    """A figure for people, whether it holds, and how much is in it that must not be at any speed.

    Ratios and times go by the median of the rounds, a promise by its worst round: that none is answered otherwise, and
    that all reads are answered.
    """
    what, value, reached, wrong = figure["what"], figure["median"], figure["reached"], 0
    if figure["unit"] == "ms":
        limit_s = float(figure["goal"].split()[1]) / 1000
        told, quick = timed(what, value / 1000, limit_s, reference)
        return told, quick or starved, 0
    if figure["goal"] == "≤ 0":
        value = figure["max"]
        wrong = math.ceil(value)
    elif what.startswith("share of reads"):
        value = figure["min"]
        wrong = int(value < 1 or not reached)
    return f"{what} {value:.4g}", reached and not wrong, wrong


def disk_slow(plan: Plan) -> Measured:
    """Flushes twenty times as long, in three places."""
    places = ["disk-slow-everywhere"] if plan.short else [f"disk-slow-{each}" for each in PLACES]
    told = run_drills(plan, places * plan.runs, side_by_side=1)
    counted = of_drills(told)
    parts = [counted.figure]
    for each in told:
        proof = each.get("proof") or {}
        flushes = f"{proof.get('flush_ms_before')} -> {proof.get('flush_ms_under')} ms"
        parts.append(f"{each['name']}: flush {flushes}, p99 {each.get('also', {}).get('p99_ms')} ms")
    return Measured("; ".join(parts), counted.violations == 0, plan.runs, counted.violations)


PLACES = ("at-a-standby", "at-the-primary", "everywhere")


def drills_at_half(plan: Plan) -> Measured:
    """Every drill with half of the processor taken beside it, but for those that take it themselves."""
    names = ["primary-crash", "api-frozen"]
    if not plan.short:
        with tempfile.TemporaryDirectory(prefix="standfest-table-") as home:
            names = [each["name"] for each in standfest(Path(home), "drill", "list")]
    chosen = [name for name in names if not name.startswith(STARVING)]

    def measure() -> Measured:
        counted = of_drills(run_drills(plan, chosen * plan.runs, "--rate", RATE_AT_HALF, side_by_side=1))
        return replace(counted, runs=plan.runs)

    return under_loops(HALF, measure)


def supervisors_die(plan: Plan) -> Measured:
    """`up` after all supervisors were killed, under load."""
    return drills(plan, ["supervisors-die"] * plan.runs)


def up_and_down(plan: Plan) -> Measured:
    """`up`, `status` and `down` while most of the processor is taken."""
    reference = pgbench()
    with start_cluster() as cluster:
        cluster.succeed("down")
        return under_loops(MOST, partial(_up_and_down, plan, cluster, reference))


def _up_and_down(plan: Plan, cluster: LocalCluster, reference_per_s: float) -> Measured:
    parts: list[str] = []
    wrong: list[str] = []
    held = True
    for _ in range(plan.runs):
        for command, goal_s in (("up", 60.0), ("status", 5.0), ("down", 60.0)):
            began = time.monotonic()
            try:
                done = cluster.run(command, "--json", timeout_s=COMMAND_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                wrong.append(f"{command} did not end within {COMMAND_TIMEOUT_S:.0f} s")
                return Measured("; ".join([*parts, wrong[-1]]), False, plan.runs, len(wrong), reference_per_s)
            figure, quick = timed(command, time.monotonic() - began, goal_s, reference_per_s)
            held &= quick
            parts.append(figure)
            well, said = ended(command, done)
            if said:
                parts.append(said)
            if not well:
                wrong.append(said)
            plan.tell("; ".join(filter(None, (figure, said))))
        if left := cluster.processes():
            wrong.append(f"down left {len(left)} processes")
            parts.append(wrong[-1])
    return Measured("; ".join(parts), held and not wrong, plan.runs, len(wrong), reference_per_s)


def ended(command: str, done: subprocess.CompletedProcess[str]) -> tuple[bool, str]:
    """Whether `up`, `status` or `down` ended as it should, and what there is to tell of its end.

    `up` and `status` say in their document that orders are taken; they end with 1 where not all is well, and also where
    they failed: the code alone means nothing. `down` says that all is down.
    """
    try:
        told = json.loads(done.stdout)
    except ValueError:
        told = {}
    verdict = told.get("verdict", {})
    if command == "down":
        well = done.returncode == 0 and told.get("down") is True
    else:
        well = done.returncode in (0, 1) and verdict.get("up") is True
    if well and not done.returncode:
        return True, ""
    said = "; ".join(verdict.get("reasons", ())) or done.stderr.strip().rpartition("\n")[2]
    return well, f"{command} ended with {done.returncode}: {said[:SAID_MAX] or 'it said nothing'}"


def speed(plan: Plan) -> Measured:
    """Orders a second, and the percentile of their times at half that rate, beside the commit before."""
    pairs, reference = paired(plan, os.environ.get("STANDFEST_BEFORE", BEFORE), SPEED, P99)
    per_s = ratio([own[SPEED] / old[SPEED] for own, old in pairs], 0.97, reference)
    p99 = ratio([own[P99] / old[P99] for own, old in pairs], 0.8, reference, at_most=True)
    undecided = None in (per_s.holds, p99.holds)
    holds = None if undecided else bool(per_s.holds and p99.holds)
    return Measured(f"orders/s {per_s.figure}; p99 {p99.figure}", holds, len(pairs), 0, reference)


def _short(share: float) -> Row:
    name = f"{STARVING}-{100 * share:.0f}"
    what = f"{share:.0%} of the processor taken, half of what remains offered"
    goal = f"0 lost, doubled, altered, failed; p99 ≤ {P99_S_GOAL[share]:g} s; back ≤ {BACK_S_GOAL:g} s after"
    return Row(name, what, goal, 3, 1 if share == 0.75 else 0, processor_short(share))


_OVERLOAD = "≥ 0.9 of the most, 0 answered otherwise, all reads answered, ≤ 2 % on both paths"
TABLE = Table(
    "slow",
    (
        *map(_short, P99_S_GOAL),
        *(
            Row(f"overload-{times}", f"{times} x what is reached", f"{_OVERLOAD}, p99 of 429 ≤ 50 ms", 3, 0, each)
            for times in (1, 3, 10)
            for each in (overload("--times", str(times)),)
        ),
        Row("overload-starved", "3 x, and 67 % taken", _OVERLOAD, 3, 1, overload("--starved", STARVED, whole=False)),
        Row(
            "disk-slow", "flush x 20: a standby, the primary, all", "0 lost, doubled, altered, failed", 3, 1, disk_slow
        ),
        Row(
            "drills-at-half",
            "all, half of the processor taken",
            "0 lost, doubled, altered, failed",
            1,
            0,
            drills_at_half,
        ),
        Row("supervisors-die", "up after all supervisors were killed", "0 failed", 10, 0, supervisors_die),
        Row(
            "up-and-down", "up, status, down, 75 % taken", "up ≤ 60 s, status ≤ 5 s, no process left", 3, 1, up_and_down
        ),
        Row("speed", "orders/s and p99 ÷ before", "≥ 0.97, ≤ 0.8", 7, 0, speed),
    ),
)
