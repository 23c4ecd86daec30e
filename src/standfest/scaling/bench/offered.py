"""What is accepted of more and more orders: throughput against offered load."""

import asyncio
import time

import psycopg

from standfest.scaling.bench.child import BenchFailed
from standfest.scaling.bench.figures import Result
from standfest.scaling.bench.load import SENT_MIN
from standfest.scaling.bench.overload import CONNECTIONS, REFUSED
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import Target, send

TIMES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Offered load ÷ the most that a closed loop reaches."""
SETTLED_TIMEOUT_S = 120.0
"""Seconds that accepted orders may take to be in the database before the next load is sent."""
_POLL_S = 0.5


async def run(target: Target, plan: Plan) -> Result:
    """Sends one load after the other through the doors, each in an open loop. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    for number in range(1, plan.rounds + 1):
        of = f"(round {number} of {plan.rounds})"
        plan.tell(f"the most that is reached {of}")
        most = (await rounds.place(rounds.load(target.doors), refused=REFUSED)).good_per_s
        if not most:
            raise BenchFailed(f"no order was accepted within {plan.seconds:g} s: there is no rate to multiply")
        rounds.note("most, orders/s", most)
        for times in TIMES:
            plan.tell(f"{times:g} times as much {of}")
            wanted = rounds.note(f"{times:g} x: wanted, orders/s", times * most)
            load = rounds.load(target.doors, connections=CONNECTIONS, rate_per_s=wanted)
            sent = await send(load)
            answered = sum(each.count for each in sent.answers.values())
            rounds.note(f"{times:g} x: arrived, orders/s", sent.arrived_per_s)
            reached = rounds.note(f"{times:g} x: sent, orders/s", sent.sent_per_s)
            if reached < SENT_MIN * wanted:
                plan.tell(f"the generator reached {reached:.0f} of the wanted {wanted:.0f} orders/s {of}")
            rounds.note(f"{times:g} x: answered, orders/s", answered / sent.seconds)
            rounds.note(f"{times:g} x: accepted, orders/s", sent.good_per_s)
            rounds.note(f"{times:g} x: accepted, p99 ms", sent.good.p99_ms)
            rounds.note(f"{times:g} x: not 201, 202 or 429", sent.otherwise)
            await _settled(target, load.run, sent.acknowledged)
    return Result("offered", [], rounds.rates, {})


async def _settled(target: Target, run: str, acknowledged: int) -> None:
    """Waits until the accepted orders are in the database: the next load is not to pay for their draining."""
    deadline = time.monotonic() + SETTLED_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if await target.orders_of(run) >= acknowledged:
                return
        except psycopg.OperationalError:
            pass  # the database is late as well: looked at again until the deadline
        await asyncio.sleep(_POLL_S)
    raise BenchFailed(
        f"{acknowledged} orders were accepted and not all came to the database within {SETTLED_TIMEOUT_S:.0f} s: "
        "see `standfest journal`"
    )
