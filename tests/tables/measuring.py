"""How rows are measured: the product's own commands, as processes, each with a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.tables.table import REFERENCE_PER_S, ROOT, Measured, Plan

SIDE_BY_SIDE = 2
"""Clusters at a time, where only counts are judged: so much company makes the machine a busy one as well."""
STARVING = "processor-short"
"""Begins the names of drills that take the processor of all clusters on the machine: they run alone."""
WRONG = ("lost", "doubled", "altered")
"""Orders of a drill that must not be, whatever is allowed."""
COMPLAINT_MAX = 200
"""Characters told of what is wrong with one drill."""
STDERR_MAX = 1_500
"""Characters told of the end of what a command says on standard error."""
_BOUND_S = 3 * 3600.0


class CannotMeasure(Exception):
    """A command that measures did not end as it should: nothing can be said of the row."""


def standfest(home: Path, *arguments: str, root: Path = ROOT, codes: Sequence[int] = (0,)) -> Any:
    """What `standfest ARGUMENTS --json` prints, run on a home of its own.

    CannotMeasure where it ends with a code that is none of `codes`, prints no document, or does not end.
    """
    what = f"standfest {' '.join(arguments)}"
    try:
        done = subprocess.run(
            [str(root / "standfest"), *arguments, "--json"],
            env={**os.environ, "STANDFEST_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=_BOUND_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotMeasure(f"{what} did not end within {_BOUND_S:.0f} s") from error
    if done.returncode not in codes:
        raise CannotMeasure(f"{what} ended with {done.returncode}: {done.stderr[-STDERR_MAX:]}")
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise CannotMeasure(
            f"{what} ended with {done.returncode} and printed no document: {done.stderr[-STDERR_MAX:]}"
        ) from error


def drills(plan: Plan, names: Sequence[str], *options: str, failures: bool = True) -> Measured:
    """Runs drills; whatever was lost, doubled or altered is a violation.

    `failures`: what failed is one as well, and one cluster has the machine for itself. Else it is told only: the row is
    about what was acknowledged, and some clusters run side by side.
    """
    told = run_drills(plan, names, *options, side_by_side=1 if failures else SIDE_BY_SIDE)
    return of_drills(told, failures)


def run_drills(
    plan: Plan, names: Sequence[str], *options: str, side_by_side: int = SIDE_BY_SIDE
) -> list[Mapping[str, Any]]:
    """The results of drills, which are run on so many clusters side by side."""
    shares = [names[number::side_by_side] for number in range(side_by_side)]
    lock = threading.Lock()
    told: list[Mapping[str, Any]] = []

    def run(share: Sequence[str]) -> None:
        if not share:
            return
        with tempfile.TemporaryDirectory(prefix="standfest-table-") as directory:
            found = standfest(Path(directory), "drill", "run", *share, *options, codes=(0, 1))["results"]
        with lock:
            told.extend(found)
            plan.tell(f"{len(told)} of {len(names)} drills done")

    with ThreadPoolExecutor(side_by_side) as pool:
        list(pool.map(run, shares))
    return told


def of_drills(told: Sequence[Mapping[str, Any]], failures: bool = True) -> Measured:
    """What the results of drills say; `failures` as for `drills`.

    A result that is not ok is one violation at least, whatever it is not ok for, and is told: a rule may be broken
    where nothing was lost, and where submissions were allowed to fail.
    """
    counts = {name: sum(each.get(name) or 0 for each in told) for name in WRONG}
    counts["failed"] = sum(_failed(each) for each in told)
    told_runs = len(told) if failures else len(told) - sum("acknowledged" not in each for each in told)
    acknowledged = sum(each.get("acknowledged") or 0 for each in told)
    parts = [
        f"{len(told)} runs",
        f"{acknowledged} acknowledged",
        *(f"{value} {name}" for name, value in counts.items()),
    ]
    longest = [each["longest_ack_ms"] for each in told if each.get("longest_ack_ms") is not None]
    if longest:
        parts.append(f"longest {max(longest):.0f} ms")
    violations = [_violations(each, failures) for each in told]
    parts += [_complaint(each) for each, found in zip(told, violations, strict=True) if found]
    return Measured(", ".join(parts), not any(violations), runs=told_runs, violations=sum(violations))


def _failed(each: Mapping[str, Any]) -> int:
    """Submissions of a drill that failed and were not allowed to."""
    return 0 if each.get("failures_allowed") else each.get("failed") or 0


def _violations(each: Mapping[str, Any], failures: bool) -> int:
    """What must not be in the result of a drill."""
    counted = sum(each.get(name) or 0 for name in WRONG) + (_failed(each) if failures else 0)
    checked = each.get("checked") or {}
    told_only = not failures and _failed(each) and not each["errors"] and checked.get("ok")
    return max(counted, int(not each["ok"] and not told_only))


def _complaint(each: Mapping[str, Any]) -> str:
    """Why the result of a drill is not ok, for people."""
    checked = each.get("checked") or {}
    kinds = [f"{checked[kind]} {kind.replace('_', ' ')}" for kind in checked.get("findings", {})]
    kinds += [f"{failed} failed"] if (failed := _failed(each)) else []
    return f"{each['name']}: {'; '.join([*map(str, each['errors']), *kinds])[:COMPLAINT_MAX]}"


def together(*parts: Measured) -> Measured:
    """Several measurements of one row as one."""
    return Measured(
        "; ".join(part.figure for part in parts),
        all(part.holds is not False for part in parts),
        runs=sum(part.runs for part in parts),
        violations=sum(part.violations for part in parts),
    )


def tests(plan: Plan, *names: str) -> Measured:
    """Runs tests by their names; each that does not pass is a violation, and is named."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_BOUND_S, check=False)
    lines = done.stdout.strip().splitlines() or [done.stderr[-300:]]
    wrong = [line.split(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if done.returncode:
        plan.tell(done.stdout)
    told = "; ".join([lines[-1].strip("= "), *wrong])
    plan.tell(told)
    return Measured(told, done.returncode == 0, violations=max(len(wrong), int(done.returncode != 0)))


def json_lines(*module: str) -> list[Mapping[str, Any]]:
    """What `python -m MODULE ARGUMENTS` prints, one JSON object a line. CannotMeasure where it fails or prints none."""
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_BOUND_S, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode not in (0, 1) or not told:
        raise CannotMeasure(f"{' '.join(module)} ended with {done.returncode}: {done.stderr[-STDERR_MAX:]}")
    return told


def pgbench() -> float:
    """The reference: what pgbench writes on a cluster like those that are measured, orders a second."""
    with tempfile.TemporaryDirectory(prefix="standfest-table-") as directory:
        told = standfest(Path(directory), "bench", "pgbench", "--rounds", "1", "--seconds", "4")
    return float(told["benches"][0]["rates"]["pgbench, orders/s"]["median"])


def timed(what: str, seconds: float, goal_s: float, reference_per_s: float) -> tuple[str, bool]:
    """A time beside its goal, for people, and whether it holds: on a slow machine it is told, also as it would be at
    REFERENCE_PER_S, and holds. "over": it exceeds its goal, there as it would be."""
    told = f"{what} {seconds:.2f} s (goal {goal_s:g} s)"
    slow = reference_per_s < REFERENCE_PER_S
    judged_s = seconds * reference_per_s / REFERENCE_PER_S if slow else seconds
    if slow:
        told += f", {judged_s:.2f} s if pgbench wrote {REFERENCE_PER_S:.0f} orders/s"
    over = judged_s > goal_s
    return told + (", over" if over else ""), slow or not over


@contextlib.contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """An earlier commit as it was then, alone in a directory that is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="standfest-before-") as directory:
        old = Path(directory) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(old), commit], cwd=ROOT, check=True)
        try:
            yield old
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], cwd=ROOT, check=True)


def beside(plan: Plan, before: str, goal: float) -> Measured:
    """Orders a second of this build ÷ those of an earlier commit, in interleaved pairs (A B, B A, …)."""
    pairs, references = paired(plan, before, "straight, orders/s")
    return ratio([own["straight, orders/s"] / old["straight, orders/s"] for own, old in pairs], goal, references)


def paired(
    plan: Plan, before: str, *names: str, seconds: float = 4.0
) -> tuple[list[tuple[Mapping[str, float], Mapping[str, float]]], float]:
    """What `bench orders` finds under these names with this build and with an earlier commit, in interleaved pairs;
    and the median of what pgbench wrote meanwhile, orders a second."""
    pairs: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    references: list[float] = []
    with checked_out(before) as old:
        for number in range(plan.runs):
            builds = (ROOT, old) if number % 2 == 0 else (old, ROOT)
            reached = {}
            for build in builds:
                home = old.with_name(f"home-{number}-{build == old}")
                told = standfest(home, "bench", "orders", "--rounds", "1", "--seconds", str(seconds), root=build)
                found = {name: each["median"] for name, each in told["benches"][0]["rates"].items()}
                references.append(found["pgbench, orders/s"])
                reached[build] = {name: found[name] for name in names}
            pairs.append((reached[ROOT], reached[old]))
            plan.tell(f"pair {number + 1} of {plan.runs}: {reached[ROOT]} beside {reached[old]}")
    return pairs, statistics.median(references)


def ratio(pairs: Sequence[float], goal: float, reference_per_s: float, *, at_most: bool = False) -> Measured:
    """The median of pairs beside a goal; not decided where it is missed by less than half of their spread."""
    median = statistics.median(pairs)
    quarters = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else [median, median, median]
    spread = quarters[2] - quarters[0]
    reached = median <= goal if at_most else median >= goal
    decided = reached or abs(median - goal) > spread / 2
    figure = f"{median:.3f} (quartiles {quarters[0]:.3f} to {quarters[2]:.3f}, {len(pairs)} pairs)"
    return Measured(figure, reached if decided else None, runs=len(pairs), reference_per_s=reference_per_s)
