"""Orders a second and CPU an order of each driver, in alternating rounds.

python -m bench.drivers.measure --rounds 5 --seconds 4
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import uvloop

from bench.drivers.workload import SEED, make_batch
from bench.drivers.writers import WRITERS
from standfest.storage.migrate import migrate
from tests.support.postgres import PostgresCluster, start_cluster

SHAPES = [(1, 1), (1, 32), (16, 2), (64, 2), (128, 2)]  # orders in a batch, flights at once


@dataclass(frozen=True)
class Round:
    """One driver at one shape for some seconds."""

    driver: str
    batch: int
    flights: int
    orders_per_s: float
    cpu_us_per_order: float  # of this Python process
    latency_ms_p50: float  # of a batch
    latency_ms_max: float


async def run_round(driver: str, dsn: str, batch_size: int, flights: int, seconds: float) -> Round:
    """Each flight writes one batch after the other; the batches are made beforehand, outside the measured time."""
    writers = [await WRITERS[driver].connect(dsn) for _ in range(flights)]
    rng = random.Random()
    for writer in writers:  # prepares the statements
        await writer.write(make_batch(batch_size, rng))
    made = [
        make_batch(batch_size, rng)
        for _ in range(max(64, int(seconds * 12_000 / batch_size) if batch_size > 1 else int(seconds * 2_500)))
    ]
    gc.collect()
    gc.freeze()  # the prepared batches are not the driver's garbage
    queue = iter(made)
    latencies: list[float] = []

    async def flight(index: int) -> None:
        while time.perf_counter() < end:
            batch = next(queue, None)
            if batch is None:
                raise RuntimeError("the prepared batches ran out: raise their number")
            began = time.perf_counter()
            names = await writers[index].write(batch)
            latencies.append(time.perf_counter() - began)
            if not names.startswith("ANY 1 ("):
                raise RuntimeError(f"not acknowledged: synchronous_standby_names is {names!r}")

    cpu = time.process_time()
    start = time.perf_counter()
    end = start + seconds
    await asyncio.gather(*(flight(index) for index in range(flights)))
    elapsed = time.perf_counter() - start
    cpu = time.process_time() - cpu
    for writer in writers:
        await writer.close()
    gc.unfreeze()
    orders = len(latencies) * batch_size
    return Round(
        driver, batch_size, flights, orders / elapsed, cpu / orders * 1e6,
        statistics.median(latencies) * 1e3, max(latencies) * 1e3,
    )  # fmt: skip


def prepare(cluster: PostgresCluster) -> str:
    """Schema and products; returns the application's conninfo."""
    migrate(cluster.dsn("standfest_owner"), phase="contract", deadline_s=60)
    with psycopg.connect(cluster.dsn("standfest_owner"), autocommit=True) as connection:
        connection.execute(SEED.encode())
        connection.execute("VACUUM ANALYZE")
    return cluster.dsn("standfest_app")


def clean(cluster: PostgresCluster) -> None:
    """Every round begins with empty order tables, so that a later one does not pay for the earlier ones' rows."""
    with cluster.admin("standfest") as connection:
        connection.execute("TRUNCATE orders, order_line, order_event, change")
        connection.execute("VACUUM ANALYZE stock")
        connection.execute("CHECKPOINT")


def report(rounds: list[Round]) -> str:
    """A Markdown table: medians, least and most."""
    lines = [
        "| orders x flights | driver | orders/s (min-max) | client CPU µs/order | batch ms p50 |",
        "|---|---|---|---|---|",
    ]
    for batch, flights in SHAPES:
        for driver in dict.fromkeys(r.driver for r in rounds):
            of = [r for r in rounds if (r.driver, r.batch, r.flights) == (driver, batch, flights)]
            if of:
                rate = [r.orders_per_s for r in of]
                lines.append(
                    f"| {batch} x {flights} | {driver} | {statistics.median(rate):,.0f} "
                    f"({min(rate):,.0f}-{max(rate):,.0f}) | {statistics.median(r.cpu_us_per_order for r in of):,.0f} "
                    f"| {statistics.median(r.latency_ms_p50 for r in of):.2f} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Run the rounds and print the table; every round goes to --out as a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--batches", nargs="+", type=int, default=sorted({batch for batch, _ in SHAPES}))
    parser.add_argument("--drivers", nargs="+", default=list(WRITERS), choices=list(WRITERS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rounds: list[Round] = []
    with start_cluster(standbys=2) as cluster:
        dsn = prepare(cluster)
        for number in range(options.rounds):
            for batch, flights in [shape for shape in SHAPES if shape[0] in options.batches]:
                order = options.drivers if number % 2 == 0 else options.drivers[::-1]
                for driver in order:
                    clean(cluster)
                    rounds.append(uvloop.run(run_round(driver, dsn, batch, flights, options.seconds)))
                    print(rounds[-1], flush=True)
                    if options.out:
                        with options.out.open("a") as out:
                            out.write(json.dumps(asdict(rounds[-1])) + "\n")
    print(report(rounds))


if __name__ == "__main__":
    main()
