"""How rows are measured: the product's own commands, as processes, each with a home of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.tables.table import ROOT, Measured, Plan

SIDE_BY_SIDE = 2
"""Clusters at a time, where only counts are judged: so much company makes the machine a busy one as well."""
_BOUND_S = 3 * 3600.0


class CannotMeasure(Exception):
    """A command that measures did not end as it should: nothing can be said of the row."""


def standfest(home: Path, *arguments: str, root: Path = ROOT, codes: Sequence[int] = (0,)) -> Any:
    """What `standfest ARGUMENTS --json` prints, run on a home of its own. CannotMeasure where it ends otherwise."""
    done = subprocess.run(
        [str(root / "standfest"), *arguments, "--json"],
        env={**os.environ, "STANDFEST_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=_BOUND_S,
        check=False,
    )
    if done.returncode not in codes:
        raise CannotMeasure(f"standfest {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def drills(plan: Plan, names: Sequence[str], *options: str, failures: bool = True) -> Measured:
    """Runs drills, on some clusters side by side; whatever was lost, doubled or altered is a violation.

    `failures`: what failed is one as well. Else it is told only: the row is about what was acknowledged.
    """
    shares = [names[number::SIDE_BY_SIDE] for number in range(SIDE_BY_SIDE)]
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

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(run, shares))
    return of_drills(told, failures)


def of_drills(told: Sequence[Mapping[str, Any]], failures: bool) -> Measured:
    """What the results of drills say; `failures` as for `drills`."""
    counts = {name: sum(each.get(name) or 0 for each in told) for name in ("lost", "doubled", "altered")}
    counts["failed"] = sum(each.get("failed") or 0 for each in told if not each.get("failures_allowed"))
    broken = [each for each in told if not each["ok"] and not any(each.get(name) for name in counts)]
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
    for each in broken[:3]:
        parts.append(f"{each['name']}: {'; '.join(map(str, each['errors']))[:200]}")
    violations = sum(value for name, value in counts.items() if failures or name != "failed")
    violations += len(broken) if failures else 0
    return Measured(", ".join(parts), violations == 0, runs=told_runs, violations=violations)


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
    """What `python -m MODULE ARGUMENTS` prints, one JSON object a line."""
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_BOUND_S, check=False)
    if done.returncode not in (0, 1):
        raise CannotMeasure(f"{' '.join(module)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def rates(home: Path, root: Path, seconds: float) -> tuple[float, float]:
    """Orders a second straight to the API processes, and pgbench's, by this build's own benchmark."""
    told = standfest(home, "bench", "orders", "--rounds", "1", "--seconds", str(seconds), root=root)
    found = told["benches"][0]["rates"]
    return found["straight, orders/s"]["median"], found["pgbench, orders/s"]["median"]


def beside(plan: Plan, before: str, goal: float, seconds: float = 4.0) -> Measured:
    """Orders a second of this build ÷ those of an earlier commit, in interleaved pairs (A B, B A, …)."""
    pairs: list[float] = []
    references: list[float] = []
    with tempfile.TemporaryDirectory(prefix="standfest-before-") as directory:
        old = Path(directory) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(old), before], cwd=ROOT, check=True)
        try:
            for number in range(plan.runs):
                builds = (ROOT, old) if number % 2 == 0 else (old, ROOT)
                reached = {}
                for build in builds:
                    home = Path(directory) / f"home-{number}-{build == old}"
                    reached[build], reference = rates(home, build, seconds)
                    references.append(reference)
                pairs.append(reached[ROOT] / reached[old])
                plan.tell(f"pair {number + 1} of {plan.runs}: {pairs[-1]:.3f}")
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], cwd=ROOT, check=True)
    return ratio(pairs, goal, statistics.median(references))


def ratio(pairs: Sequence[float], goal: float, reference_per_s: float) -> Measured:
    """The median of pairs beside a goal; not decided where their spread is wider than the distance to it."""
    median = statistics.median(pairs)
    quarters = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else [median, median, median]
    spread = quarters[2] - quarters[0]
    decided = abs(median - goal) > spread / 2 or median >= goal
    figure = f"{median:.3f} (quartiles {quarters[0]:.3f} to {quarters[2]:.3f}, {len(pairs)} pairs)"
    return Measured(figure, median >= goal if decided else None, runs=len(pairs), reference_per_s=reference_per_s)
