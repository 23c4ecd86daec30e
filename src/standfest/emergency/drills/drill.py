"""What a drill is: a fault that is put in while orders flow, held, proven, undone, and what must hold meanwhile."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from standfest.emergency.drills.stage import Stage

Proof = Mapping[str, Any]
"""What shows that a fault happened: processes, roles, timelines, before and after. JSON values."""


@dataclass(frozen=True)
class Goal:
    """What is aimed at beyond the rules for every drill. It is reported, and does not decide the exit code."""

    ack_ms_max: float | None = None
    """The longest time from a first submission to its acknowledgement, repeats included."""
    writes_back_s_max: float | None = None
    """From the fault to the first durable database write afterwards."""


@dataclass(frozen=True)
class Drill:
    """One drill. Its fault is a coroutine on the stage that ends when the fault is undone; it raises FaultFailed
    where the fault did not happen."""

    numbers: tuple[int, ...]
    """Its faults in the catalogue of faults."""
    name: str
    """In kebab case, as the command takes it."""
    summary: str
    """One sentence: what it does."""
    fault: Callable[[Stage], Awaitable[Proof]]
    hold_s: float = 0.0
    """How long the fault is held against supervision, where it does not end by itself."""
    goal: Goal = Goal()
    rate_per_s: float | None = None
    """Orders a second, where it does not go by the run's."""
    by_journal: bool = False
    """No write comes through for a while, and orders must go by the journal then."""
    failures_allowed: bool = False
    """Submissions may fail: so much is broken that taking orders would be wrong."""
    ready: "Callable[[Stage, Drill], AbstractAsyncContextManager[Drill]] | None" = None
    """What has to be there before orders flow, and goes after the last of them: a context manager that is given the
    drill, and yields it as it is then carried out. None: nothing."""
