"""Three times more orders than the cluster takes: what it takes all the same, and how it says no to the rest."""

import asyncio

from standfest.scaling.bench.child import BenchFailed
from standfest.scaling.bench.figures import (
    AFTERWARDS,
    HASTY,
    OTHERWISE,
    READ,
    REFUSED_P99,
    TAKEN,
    TAKEN_P99,
    Figure,
    Goal,
    Result,
)
from standfest.scaling.bench.load import Answers, Sent
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import Target, send

TIMES = 3
CONNECTIONS = 1_000
"""Enough that none of the arrivals waits for another one's answer."""
READS_PER_S = 20
REFUSED = (429, 502, 503, 504)
"""All but the first count as orders that were answered otherwise than they should be."""
NONE = Answers(0, 0.0, 0.0, 0.0)


async def run(target: Target, plan: Plan) -> Result:
    """Finds the most that is reached, and sends three times as much. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    figures: dict[Goal, list[float]] = {}
    for number in range(1, plan.rounds + 1):
        of = f"(round {number} of {plan.rounds})"
        plan.tell(f"the most that is reached {of}")
        most = rounds.note("most, orders/s", (await rounds.place(rounds.load(target.doors))).good_per_s)
        plan.tell(f"{TIMES} times as much {of}")
        orders = [f"/v1/orders/{order_id}" for order_id in await target.some_orders(1_000)]
        much = rounds.load(target.doors, connections=CONNECTIONS, rate_per_s=TIMES * most)
        reading = rounds.load(target.doors, connections=READS_PER_S, rate_per_s=READS_PER_S, paths=orders)
        sent, read = await asyncio.gather(rounds.place(much, refused=REFUSED), send(reading))
        plan.tell(f"afterwards {of}")
        after = await rounds.place(rounds.load(target.doors, rate_per_s=most / 2), refused=REFUSED)
        if not sent.statuses.get(429):
            raise BenchFailed("nothing was refused: this was no overload")
        rounds.note("accepted, orders/s", sent.good_per_s)
        rounds.note("sent, orders/s", sum(each.count for each in sent.answers.values()) / sent.seconds)
        for goal, value in _found(sent, read, after, most).items():
            figures.setdefault(goal, []).append(value)
    return Result("overload", [Figure(goal, values) for goal, values in figures.items()], rounds.rates, {})


def _found(sent: Sent, read: Sent, after: Sent, most: float) -> dict[Goal, float]:
    refused = sent.answers.get(429, NONE)
    otherwise = sum(count for status, count in sent.statuses.items() if status not in (201, 202, 429))
    asked = sum(read.statuses.values()) + read.unclear + read.not_sent
    return {
        TAKEN: sent.good_per_s / most,
        TAKEN_P99: sent.good.p99_ms,
        REFUSED_P99: refused.p99_ms,
        HASTY: sent.hasty,
        OTHERWISE: sent.unclear + otherwise,
        READ: read.statuses.get(200, 0) / max(asked, 1),
        AFTERWARDS: after.good.p99_ms,
    }
