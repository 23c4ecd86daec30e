"""What the journal, its workers, the audit and the receipts cost while nothing fails.

    python -m bench.overhead [--seconds 15] [--rounds 3] [--clients 32]

A whole cluster on this machine takes orders of three lines as fast as it can, in turns with journal, workers and audit
and without them: orders a second, and seconds of processor time an order of all that belongs to the cluster (who sends
is not counted there, and does take part of the machine). Receipts are always written: what one costs is measured alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
import uvloop

from standfest.clients.attempts import Acknowledged
from standfest.clients.orders import OrdersClient
from standfest.cluster.home import Home
from standfest.cluster.processes import processes_of
from standfest.domain.products import Product
from standfest.intake.receipt_log import receipt_log
from standfest.intake.receipts import receipt_of
from tests.integration.orders import order
from tests.support.api import PRODUCT, order_body
from tests.support.cluster import LocalCluster, start_cluster

PRODUCTS = 1_000
STOCK = 10**8
SCOPES = ("orders:write", "orders:read", "catalogue:write", "stock:write")
WITHOUT = ("audit", "worker", "journal")
WARM_UP_S = 3.0
GOODS: tuple[Any, ...] = ("Ware", "Goods", "piece", 0, Decimal(1), "standard", True, "tracked", 1)


async def prepare(doors: list[str], key: str) -> None:
    """Products with more stock than can be ordered."""
    async with OrdersClient(doors, key) as client:
        for first in range(0, PRODUCTS, 500):
            numbers = range(first, first + 500)
            stock = [{"sku": f"p{number}", "on_hand": str(STOCK)} for number in numbers]
            for outcome in (
                await client.put_products([{**PRODUCT, "sku": f"p{number}"} for number in numbers]),
                await client.put_stock(stock),
            ):
                if not isinstance(outcome, Acknowledged):
                    raise SystemExit(f"products and stock were not taken: {outcome}")


def bodies(seed: int) -> Iterator[bytes]:
    """Orders of three lines."""
    rng = random.Random(seed)
    while True:
        yield json.dumps(order_body(*((f"p{number}", "1") for number in rng.sample(range(PRODUCTS), 3)))).encode()


def send(doors: list[str], key: str, clients: int, seconds: float, report: multiprocessing.Queue[int]) -> None:
    """Sends orders, each client one after the other; reports how many were confirmed."""

    async def one(session: aiohttp.ClientSession, door: str, seed: int, until: float) -> int:
        confirmed = 0
        for body in bodies(seed):
            headers = {"Idempotency-Key": str(uuid4())}
            async with session.post(f"{door}/v1/orders", data=body, headers=headers) as response:
                confirmed += response.status == 201
                await response.read()
            if time.monotonic() > until:
                break
        return confirmed

    async def run() -> int:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connector, timeout = aiohttp.TCPConnector(limit=clients), aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout) as session:
            until = time.monotonic() + seconds
            doing = (one(session, doors[number % len(doors)], number, until) for number in range(clients))
            return sum(await asyncio.gather(*doing))

    report.put(uvloop.run(run()))


def processor_s(cluster: LocalCluster) -> dict[psutil.Process, float]:
    """Processor time of each process of the cluster until now."""
    home, used = Home(cluster.home), {}
    for node in cluster.topology.nodes:
        for own in processes_of(home.node(node.name)):
            times = own.process.cpu_times()
            used[own.process] = times.user + times.system
    return used


def measure(cluster: LocalCluster, key: str, clients: int, seconds: float) -> tuple[float, float]:
    """Orders a second, and milliseconds of processor time an order."""
    doors = [f"http://{door.address}:{door.port}" for door in cluster.topology.doors]
    context = multiprocessing.get_context("spawn")
    report: multiprocessing.Queue[int] = context.Queue()
    for length in (WARM_UP_S, seconds):
        sending = context.Process(target=send, args=(doors, key, clients, length, report))
        before = processor_s(cluster)
        sending.start()
        confirmed = report.get(timeout=length + 60)
        used = sum(now - before.get(process, 0.0) for process, now in processor_s(cluster).items())
        sending.join(10)
    return confirmed / seconds, 1000 * used / confirmed


def switch(cluster: LocalCluster, verb: str) -> None:
    """Stop or start everything that is measured."""
    names = [f"{node.name}/{program}" for program in WITHOUT for node in cluster.topology.nodes]
    for name in names if verb == "stop" else reversed(names):
        cluster.succeed("service", verb, name)
    if verb == "start":
        cluster.until_well()


async def write_receipts(directory: Path, orders: int) -> None:
    """Give and write the receipt of one order again and again, as an API process does."""
    wanted = order("k", *((Product(number, f"p{number}", *GOODS), 1) for number in range(3)))
    async with receipt_log(directory, "bench") as log:
        for number in range(orders):
            log.append(receipt_of(wanted, wanted.content_hash, "confirmed"))
            if number % 50 == 0:
                await asyncio.sleep(0)


def receipts_ms(orders: int = 10_000) -> float:
    """Milliseconds of processor time that one receipt takes."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.process_time()
        uvloop.run(write_receipts(Path(directory), orders))
        return 1000 * (time.process_time() - began) / orders


def main() -> None:
    """Measure in turns, and print medians with minimum and maximum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    options = parser.parse_args()
    results: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    with start_cluster() as cluster:
        scopes = [word for scope in SCOPES for word in ("--scope", scope)]
        key = str(json.loads(cluster.succeed("client", "add", "bench", *scopes, "--json"))["key"])
        asyncio.run(prepare([f"http://{door.address}:{door.port}" for door in cluster.topology.doors], key))
        for _ in range(options.rounds):
            results["with"].append(measure(cluster, key, options.clients, options.seconds))
            switch(cluster, "stop")
            results["without"].append(measure(cluster, key, options.clients, options.seconds))
            switch(cluster, "start")
    for name, rounds in results.items():
        for unit, values in zip(("orders/s", "ms of processor time an order"), zip(*rounds, strict=True), strict=True):
            sys.stdout.write(
                f"{name:8} {statistics.median(values):8.2f} {unit} ({min(values):.2f}-{max(values):.2f})\n"
            )
    sys.stdout.write(f"receipts {receipts_ms():8.2f} ms of processor time each\n")


if __name__ == "__main__":
    main()
