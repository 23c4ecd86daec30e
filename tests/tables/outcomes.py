"""What is recorded of a row that could not be measured to its end: the worst outcomes are outcomes as well."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from standfest.emergency.loops import LoopsFailed, taken
from standfest.errors import StandfestError
from tests.tables.measuring import CannotMeasure
from tests.tables.table import ROOT, Measured

LOOPS_S_MAX = 4 * 3600.0
"""Seconds after which the loops end, however long a row takes."""
TOLD_MAX = 2_000
"""Characters told of an error."""


def outcome(measure: Callable[[], Measured]) -> Measured:
    """What is measured. What ends it otherwise is a violation, but for busy loops that took another share."""
    try:
        return measure()
    except LoopsFailed as error:
        return voided(None, _told(error))
    except (CannotMeasure, StandfestError, subprocess.SubprocessError, AssertionError) as error:
        return Measured(_told(error), False, runs=0, violations=1)


def voided(found: Measured | None, reason: str) -> Measured:
    """What is left of a measurement that is void: what must not be at any speed was found all the same, and is kept;
    figures say nothing, and runs do not count."""
    told = f"void: {reason}" + (f"; {found.figure}" if found else "")
    if found is None or not found.violations:
        return Measured(told, None, runs=0, reference_per_s=found.reference_per_s if found else None)
    return replace(found, figure=told, holds=False, runs=0)


def under_loops(share: float, measure: Callable[[], Measured]) -> Measured:
    """Measures while busy loops take a share of all cores, 0 to 1; void where they took another one."""
    found: Measured | None = None
    try:
        with taken(share, LOOPS_S_MAX) as loops:
            found = outcome(measure)
    except LoopsFailed as error:
        return voided(found, str(error))
    return replace(found, figure=f"{found.figure}; taken {loops.share:.0%}")


def _told(error: BaseException) -> str:
    """For people, without where this machine keeps its files: results are committed."""
    what = str(error)
    for path, name in ((str(ROOT), "."), (sys.executable, "python"), (str(Path.home()), "~")):
        what = what.replace(path, name)
    return (what or type(error).__name__)[:TOLD_MAX]
