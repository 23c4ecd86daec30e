"""Orders while the database is down, and how fast they come to it afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from standfest.cluster.inventory import find_service
from standfest.cluster.takedown import hold_service, release_service
from standfest.cluster.waiting import Silent
from standfest.scaling.bench.child import BenchFailed
from standfest.scaling.bench.figures import ACCEPTED, DRAINED, Figure, Result
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import Target, send

RELEASE_TIMEOUT_S = 90.0
DRAINED_TIMEOUT_S = 300.0
_POLL_S = 0.1


async def run(target: Target, plan: Plan) -> Result:
    """Alternates pgbench, the direct path, and the journal. Raises BenchFailed."""
    rounds = Rounds(target, plan)
    clients = await rounds.best_clients()
    for number in range(1, plan.rounds + 1):
        of = f"(round {number} of {plan.rounds})"
        plan.tell(f"pgbench with {clients} clients {of}")
        rounds.note("pgbench, orders/s", (await rounds.reference(clients)).orders_per_s)
        plan.tell(f"the direct path {of}")
        rounds.note("direct, orders/s", (await rounds.place(rounds.load(target.apis))).good_per_s)
        plan.tell(f"stopping the databases {of}")
        async with _without_database(target):
            plan.tell(f"orders without a database {of}")
            load = rounds.load(target.apis)
            sent = await send(load)
            if set(sent.statuses) != {202}:
                raise BenchFailed(f"without a database orders were answered otherwise than with 202: {sent.statuses}")
            rounds.note("accepted, orders/s", sent.good_per_s)
            rounds.note("accepted, p99 ms", sent.good.p99_ms)
            plan.tell(f"draining {of}")
        rounds.note("drained, orders/s", await _drained(target, load.run, sent.acknowledged))
        await _direct_again(rounds)
    return Result(
        "journal",
        (
            Figure(ACCEPTED, rounds.ratios("accepted, orders/s", "pgbench, orders/s")),
            Figure(DRAINED, rounds.ratios("drained, orders/s", "direct, orders/s")),
        ),
        rounds.rates,
        {},
    )


async def _direct_again(rounds: Rounds) -> None:
    """Waits until orders take the direct path again, on every API process."""
    deadline = time.monotonic() + DRAINED_TIMEOUT_S
    apis = rounds.target.apis
    while set((await send(rounds.load(apis, connections=len(apis)))).statuses) != {201}:
        if time.monotonic() > deadline:
            raise BenchFailed(f"orders did not go back to the direct path within {DRAINED_TIMEOUT_S:.0f} s")


@asynccontextmanager
async def _without_database(target: Target) -> AsyncIterator[None]:
    """No PostgreSQL runs in the block; at its end all of them are started, and not waited for."""
    cluster = target.cluster
    services = [find_service(cluster.topology, f"{node.name}/patroni") for node in cluster.topology.nodes]
    await asyncio.gather(*(hold_service(cluster, each, crash=True, progress=Silent()) for each in services))
    try:
        yield
    finally:
        await asyncio.gather(*(release_service(cluster, each, RELEASE_TIMEOUT_S, Silent()) for each in services))


async def _drained(target: Target, run: str, expected: int) -> float:
    """Orders a second, from the last look at the database that found none until all are there: at least so many."""
    none_at = time.monotonic()
    deadline = none_at + DRAINED_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            stored = await target.orders_of(run)
        except psycopg.OperationalError:
            stored = 0
        now = time.monotonic()
        if stored >= expected:
            return stored / (now - none_at)
        if not stored:
            none_at = now
        await asyncio.sleep(_POLL_S)
    raise BenchFailed(f"{expected} orders were accepted and not all came to the database: see `standfest journal`")
