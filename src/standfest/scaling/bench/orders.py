"""Orders a second, and how long one takes, beside pgbench with the same rows."""

from standfest.scaling.bench.figures import (
    DOORS,
    HALF_P50,
    HALF_P99,
    LONELY,
    MANY_LINES,
    STRAIGHT,
    Figure,
    Result,
)
from standfest.scaling.bench.parts import an_order, usage
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import Target

LINES, LINES_MANY = 3, 21
"""21: the mean of the real file that `replay` is made for."""
TOO_MANY = (429,)
"""A right answer where the machine is slow: told beside the figures, and no failure of the benchmark."""


async def run(target: Target, plan: Plan) -> Result:
    """Alternates product and pgbench. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    home, topology = target.cluster.home, target.cluster.topology
    clients = await rounds.best_clients()
    parts: dict[str, dict[str, float]] = {}
    for number in range(1, plan.rounds + 1):
        of = f"(round {number} of {plan.rounds})"
        plan.tell(f"pgbench with {clients} clients {of}")
        rounds.note("pgbench, orders/s", (await rounds.reference(clients)).orders_per_s)
        plan.tell(f"{plan.clients} connections straight to the API processes {of}")
        before = usage(home, topology)
        sent = await rounds.place(rounds.load(target.apis), refused=TOO_MANY)
        parts = an_order(before, usage(home, topology), sent.acknowledged)
        parts["load"] = {"ms_an_order": round(1000 * sent.processor_s / max(sent.acknowledged, 1), 3)}
        straight = rounds.note("straight, orders/s", sent.good_per_s)
        plan.tell(f"{plan.clients} connections through the doors {of}")
        rounds.note("doors, orders/s", (await rounds.place(rounds.load(target.doors), refused=TOO_MANY)).good_per_s)
        plan.tell(f"{LINES_MANY} lines an order {of}")
        many = await rounds.place(rounds.load(target.apis, lines=LINES_MANY), refused=TOO_MANY)
        rounds.note(f"{LINES_MANY} lines, orders/s", many.good_per_s)
        plan.tell(f"half the rate, in an open loop {of}")
        half = await rounds.place(rounds.load(target.apis, rate_per_s=straight / 2), refused=TOO_MANY)
        rounds.note("half the rate, p50 ms", half.good.p50_ms)
        rounds.note("half the rate, p99 ms", half.good.p99_ms)
        rounds.note("refused", sum(each.statuses.get(429, 0) for each in (sent, many, half)))
        plan.tell(f"one client {of}")
        rounds.note("pgbench with one client, p50 ms", (await rounds.reference(1)).p50_ms)
        alone = await rounds.place(rounds.load(target.apis[:1], connections=1))
        rounds.note("one client, p50 ms", alone.good.p50_ms)
    rates = rounds.rates
    lines = [LINES_MANY / LINES * each for each in rounds.ratios(f"{LINES_MANY} lines, orders/s", "straight, orders/s")]
    figures = (
        Figure(STRAIGHT, rounds.ratios("straight, orders/s", "pgbench, orders/s")),
        Figure(DOORS, rounds.ratios("doors, orders/s", "pgbench, orders/s")),
        Figure(MANY_LINES, lines),
        Figure(HALF_P99, rates["half the rate, p99 ms"]),
        Figure(HALF_P50, rates["half the rate, p50 ms"]),
        Figure(LONELY, rounds.ratios("one client, p50 ms", "pgbench with one client, p50 ms")),
    )
    return Result("orders", figures, rates, parts)
