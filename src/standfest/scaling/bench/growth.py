"""Reads and inserts among few orders and among many.

The crowd is written by SQL. To the audit it would be nothing but findings, so no audit runs from then on.
"""

from standfest.cluster.inventory import find_service
from standfest.cluster.takedown import hold_service
from standfest.cluster.waiting import Silent
from standfest.scaling.bench.figures import GREW_INSERT, GREW_LIST, GREW_MEMORY, GREW_READ, Figure, Result
from standfest.scaling.bench.parts import usage
from standfest.scaling.bench.requests import CUSTOMERS
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import Target, send

FEW = 10_000
READERS = 4
PAGE = 50


async def reads(target: Target, plan: Plan) -> Result:
    """How fast orders are read and listed as things stand. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    await _fill(rounds, FEW)
    for number in range(1, plan.rounds + 1):
        await _read(rounds, f"(round {number} of {plan.rounds})", "")
    return Result("reads", (), rounds.rates, {})


async def growth(target: Target, plan: Plan, many: int) -> Result:
    """The same among FEW and among `many` orders, and inserts. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    for among in (FEW, many):
        await _fill(rounds, among)
        for number in range(1, plan.rounds + 1):
            of = f"(round {number} of {plan.rounds})"
            await _read(rounds, of, f" among {among}")
            plan.tell(f"orders among {among:,} {of}")
            sent = await rounds.place(rounds.load(target.apis))
            rounds.note(f"inserted among {among}, orders/s", sent.good_per_s)
        memory = usage(target.cluster.home, target.cluster.topology)["api"].memory_mib / len(target.apis)
        rounds.note(f"an API process among {among}, MiB", memory)
    return Result(
        "growth",
        (
            Figure(GREW_READ, rounds.ratios(f"an order among {many}, p50 ms", f"an order among {FEW}, p50 ms")),
            Figure(GREW_LIST, rounds.ratios(f"a page among {many}, p50 ms", f"a page among {FEW}, p50 ms")),
            Figure(GREW_INSERT, rounds.ratios(f"inserted among {many}, orders/s", f"inserted among {FEW}, orders/s")),
            Figure(GREW_MEMORY, rounds.rates[f"an API process among {many}, MiB"]),
        ),
        rounds.rates,
        {},
    )


async def _fill(rounds: Rounds, among: int) -> None:
    rounds.plan.tell(f"filling up to {among:,} orders, without audits")
    cluster = rounds.target.cluster
    for node in cluster.topology.nodes:
        audit = find_service(cluster.topology, f"{node.name}/audit")
        await hold_service(cluster, audit, crash=False, progress=Silent())
    await rounds.target.writing.fill(among)


async def _read(rounds: Rounds, of: str, among: str) -> None:
    target = rounds.target
    orders = [f"/v1/orders/{order_id}" for order_id in await target.some_orders(2_000)]
    pages = [f"/v1/orders?customer=C-{customer:04d}&limit={PAGE}" for customer in range(CUSTOMERS)]
    for what, paths in (("an order", orders), ("a page", pages)):
        rounds.plan.tell(f"reading {what}{among} {of}")
        sent = await send(rounds.load(target.apis, connections=READERS, paths=paths))
        rounds.note(f"{what}{among}, reads/s", sent.good_per_s)
        rounds.note(f"{what}{among}, p50 ms", sent.good.p50_ms)
        rounds.note(f"{what}{among}, p99 ms", sent.good.p99_ms)
