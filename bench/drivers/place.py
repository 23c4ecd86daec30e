"""The product's own direct path, `intake.direct.place`: checks, decisions and receipts' facts included.

python -m bench.drivers.place --rounds 5 --seconds 3
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import time
from datetime import UTC, datetime
from decimal import Decimal

import uvloop

from bench.drivers.measure import SHAPES, Round, clean, prepare, report
from bench.drivers.workload import CLIENT_ID, LINES_PER_ORDER, PRODUCTS
from standfest.domain.agreement import Merchant, Submission, agree
from standfest.domain.orders import Order
from standfest.domain.products import Product
from standfest.domain.request import Address, CustomerRequest, LineRequest, OrderRequest
from standfest.intake.direct import place
from standfest.storage.connection import DatabaseSettings, Host
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from tests.support.postgres import PostgresCluster, start_cluster

MERCHANT = Merchant("DE", "EUR")
HOME = Address("Erika Mustermann", "Heidestr. 17", "51147", "Koeln", "DE")
CATALOGUE = {
    f"SKU-{number}": Product(
        number, f"SKU-{number}", f"Artikel {number}", f"Article {number}", "piece", 0, Decimal("2.5500"), "standard",
        True, "tracked", 1,
    )
    for number in range(1, PRODUCTS + 1)
}  # fmt: skip


def make_orders(size: int, rng: random.Random) -> list[Order]:
    """Agreed orders that nobody has sent before."""
    orders = []
    for _ in range(size):
        skus = rng.sample(range(1, PRODUCTS + 1), k=LINES_PER_ORDER)
        lines = tuple(LineRequest(f"SKU-{number}", str(rng.randint(1, 9))) for number in skus)
        request = OrderRequest(CustomerRequest("Erika Mustermann", "C-4711"), HOME, "EUR", lines)
        key = f"{rng.getrandbits(128):032x}"
        orders.append(agree(Submission(CLIENT_ID, key, key, request, False, datetime.now(UTC)), CATALOGUE, MERCHANT))
    return orders


async def run_round(cluster: PostgresCluster, name: str, batch: int, flights: int, seconds: float) -> Round:
    """Each flight places one batch after the other."""
    primary = cluster.primary
    password = cluster.password_file("standfest_app").read_text()
    host = Host(primary.host, primary.port)
    pool = Database(DatabaseSettings((host,), "standfest", "standfest_app", password, connections_max=flights))
    rng = random.Random()
    for _ in range(6):  # connections, and psycopg's threshold for preparing a statement
        await asyncio.gather(*(place(pool, make_orders(batch, rng), Deadline.after(10)) for _ in range(flights)))
    queue = iter([make_orders(batch, rng) for _ in range(int(seconds * (7_000 / batch if batch > 1 else 1_500)))])
    gc.collect()
    gc.freeze()
    latencies: list[float] = []

    async def flight() -> None:
        while time.perf_counter() < end:
            orders = next(queue)
            began = time.perf_counter()
            await place(pool, orders, Deadline.after(10))
            latencies.append(time.perf_counter() - began)

    cpu, start = time.process_time(), time.perf_counter()
    end = start + seconds
    await asyncio.gather(*(flight() for _ in range(flights)))
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    await pool.close()
    gc.unfreeze()
    orders = len(latencies) * batch
    return Round(
        name, batch, flights, orders / elapsed, cpu / orders * 1e6, statistics.median(latencies) * 1e3,
        max(latencies) * 1e3,
    )  # fmt: skip


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    rounds: list[Round] = []
    with start_cluster(standbys=2) as cluster:
        prepare(cluster)
        for _ in range(options.rounds):
            for batch, flights in SHAPES:
                clean(cluster)
                rounds.append(uvloop.run(run_round(cluster, "place", batch, flights, options.seconds)))
                print(rounds[-1], flush=True)
    print(report(rounds))


if __name__ == "__main__":
    main()
