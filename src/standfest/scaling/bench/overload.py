"""More orders than the cluster takes: what it takes all the same, and how it says no to the rest."""

import asyncio

from standfest.scaling.bench.child import BenchFailed
from standfest.scaling.bench.figures import (
    AFTERWARDS,
    BOTH,
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
from standfest.scaling.bench.load import SENT_MIN, Answers
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import Target, send

CONNECTIONS = 1_000
"""Enough that none of the arrivals waits for another one's answer."""
READS_PER_S = 20
REFUSED = (429, 502, 503, 504)
"""All but the first count as orders that were answered otherwise than they should be."""
NONE = Answers(0, 0.0, 0.0, 0.0)


async def run(target: Target, plan: Plan, times: int = 3) -> Result:
    """Finds the most that is reached, and sends so many times as much. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    figures: dict[Goal, list[float]] = {}
    for number in range(1, plan.rounds + 1):
        of = f"(round {number} of {plan.rounds})"
        plan.tell(f"the most that is reached {of}")
        before = await rounds.place(rounds.load(target.doors), refused=REFUSED)
        most = rounds.note("most, orders/s", before.good_per_s)
        if not most:
            raise BenchFailed(f"no order was accepted within {plan.seconds:g} s: there is nothing to send more than")
        wanted = rounds.note("wanted, orders/s", times * most)
        plan.tell(f"{times} times as much {of}")
        orders = [f"/v1/orders/{order_id}" for order_id in await target.some_orders(1_000)]
        much = rounds.load(target.doors, connections=CONNECTIONS, rate_per_s=wanted)
        reading = rounds.load(target.doors, connections=READS_PER_S, rate_per_s=READS_PER_S, paths=orders)
        twice = await target.on_both_paths()
        sent, read = await asyncio.gather(rounds.place(much, refused=REFUSED), send(reading))
        twice = await target.on_both_paths() - twice
        plan.tell(f"afterwards {of}")
        after = await rounds.place(rounds.load(target.doors, rate_per_s=most / 2), refused=REFUSED)
        reached = rounds.note("sent, orders/s", sent.sent_per_s)
        if reached < SENT_MIN * wanted:
            plan.tell(f"the generator reached {reached:.0f} of the wanted {wanted:.0f} orders/s {of}")
        if times > 1 and not sent.statuses.get(429):
            raise BenchFailed(f"nothing was refused of {reached:.0f} orders/s: this was no overload")
        rounds.note("accepted, orders/s", sent.good_per_s)
        found = {
            TAKEN: sent.good_per_s / most,
            TAKEN_P99: sent.good.p99_ms,
            REFUSED_P99: sent.answers.get(429, NONE).p99_ms,
            HASTY: sent.hasty,
            OTHERWISE: sum(each.otherwise for each in (before, sent, after)),
            BOTH: twice / max(sent.acknowledged, 1),
            READ: read.statuses.get(200, 0) / max(sum(read.statuses.values()) + read.unclear + read.not_sent, 1),
            AFTERWARDS: after.good.p99_ms,
        }
        for goal, value in found.items():
            figures.setdefault(goal, []).append(value)
    return Result("overload", [Figure(goal, values) for goal, values in figures.items()], rounds.rates, {})
