"""A wholesaler's orders as they come, long ones and short ones, beside orders of three lines."""

import statistics
from collections.abc import Awaitable, Callable

from standfest.scaling.bench.figures import FILE, Figure, Result
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import Target

LINES = 3

Replay = Callable[[], Awaitable[float]]
"""Sends all of the file through the doors; returns lines a second."""


async def run(target: Target, plan: Plan, replay: Replay) -> Result:
    """The file once, as its stock is sold then; orders of three lines before and after. Raises BenchFailed."""
    rounds = Rounds(target, plan)

    async def three_lines(when: str) -> None:
        plan.tell(f"{LINES} lines an order, {when} the file")
        sent = await rounds.place(rounds.load(target.apis, lines=LINES))
        rounds.note(f"{LINES} lines an order, lines/s", LINES * sent.good_per_s)

    await three_lines("before")
    plan.tell("the file")
    lines_per_s = rounds.note("the file, lines/s", await replay())
    await three_lines("after")
    beside = statistics.mean(rounds.rates[f"{LINES} lines an order, lines/s"])
    return Result("file", (Figure(FILE, [lines_per_s / beside]),), rounds.rates, {})
