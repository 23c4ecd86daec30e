"""How fast a backlog of the journal is drained while orders go on being accepted by it.

    python -m bench.drain --orders 10000 --rate 200

PostgreSQL with two standbys (quorum of one, fsync) and an etcd of three members, all on this machine; a drainer as a
worker runs it in this process, and who accepts in another one. Orders have three lines of 10,000 products.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import time
from collections.abc import Sequence
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

import msgspec
import psycopg
import uvloop

from standfest.clients.etcd_kv import EtcdStore
from standfest.domain.orders import Order
from standfest.domain.products import Product
from standfest.intake.drain import Drainer
from standfest.intake.journal import ORDERS_PER_TXN_MAX, Journal
from standfest.storage.migrate import migrate
from tests.integration.orders import order, pool_of, query, stock_product
from tests.support.etcd import EtcdCluster, start_etcd
from tests.support.postgres import TestDatabase, start_cluster

PRODUCTS = 10_000
STOCK = 10**9
SIZE_MAX = 2**31


@contextlib.asynccontextmanager
async def journal_of(etcd: EtcdCluster):  # type: ignore[no-untyped-def]
    """The journal."""
    async with etcd.session() as session:
        yield Journal(EtcdStore(session, etcd.addresses, etcd.tls()), SIZE_MAX)


def stock_products(database: TestDatabase) -> list[Product]:
    """10,000 products with stock."""
    first = stock_product(database, "p0", STOCK)
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        rows = connection.execute(
            "INSERT INTO product (sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, "
            "stock_policy) SELECT 'p' || number, 'x', 'x', 'piece', 0, 10, 'standard', true, 'tracked' "
            "FROM generate_series(1, %s) AS number RETURNING id, sku",
            [PRODUCTS - 1],
        ).fetchall()
        connection.execute(
            "INSERT INTO stock (product_id, on_hand) SELECT id, %s FROM product WHERE id <> %s", [STOCK, first.id]
        )
    return [first, *(msgspec.structs.replace(first, id=number, sku=sku) for number, sku in rows)]


def made(products: Sequence[Product], key: str, rng: random.Random) -> Order:
    """An accepted order of three lines."""
    wanted = order(key, *((product, 1) for product in rng.sample(products, 3)))
    return msgspec.structs.replace(wanted, status="accepted", path="journal")


async def fill(etcd: EtcdCluster, products: Sequence[Product], orders: int) -> None:
    """Puts the backlog into the journal."""
    rng = random.Random(1)
    async with journal_of(etcd) as journal:
        for start in range(0, orders, ORDERS_PER_TXN_MAX):
            keys = range(start, min(start + ORDERS_PER_TXN_MAX, orders))
            await journal.accept([made(products, f"backlog-{key}", rng) for key in keys], 10)


def accept_on(
    etcd: EtcdCluster, products: Sequence[Product], rate_per_s: float, accepted: Synchronized[int], stop: Event
) -> None:
    """Goes on accepting, one order at a time, until told to stop; counts them."""

    async def run() -> None:
        rng, number, began = random.Random(2), 0, time.monotonic()
        async with journal_of(etcd) as journal:
            while not stop.is_set():
                await journal.accept([made(products, f"on-{number}", rng)], 10)
                number += 1
                accepted.value = number
                await asyncio.sleep(max(0.0, began + number / rate_per_s - time.monotonic()))

    uvloop.run(run())


async def drain(etcd: EtcdCluster, database: TestDatabase, orders: int) -> float:
    """Seconds until the backlog is in the database."""
    pool = pool_of(database, 3)
    stop = asyncio.Event()
    async with journal_of(etcd) as journal:
        drainer = Drainer(pool, journal)
        began = time.monotonic()
        draining = asyncio.create_task(drainer.run(stop))
        while drainer.drained < orders:  # noqa: ASYNC110 - who drains counts and tells nobody
            await asyncio.sleep(0.01)
        took_s = time.monotonic() - began
        stop.set()
        await draining
    await pool.close()
    return took_s


def main() -> None:
    """Measures once and says what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=200.0)
    options = parser.parse_args()
    with start_cluster(2) as postgres, start_etcd() as etcd:
        migrate(postgres.dsn("standfest_owner"), phase="contract", deadline_s=60)
        database = postgres.create_database()
        products = stock_products(database)
        asyncio.run(fill(etcd, products, options.orders))
        stop, accepted = multiprocessing.Event(), multiprocessing.Value("i", 0)
        arguments = (etcd, products, options.rate, accepted, stop)
        accepting = multiprocessing.Process(target=accept_on, args=arguments)
        accepting.start()
        while accepted.value == 0:
            time.sleep(0.01)
        try:
            took_s = uvloop.run(drain(etcd, database, options.orders))
        finally:
            stop.set()
            accepting.join(10)
        [(stored,)] = query(database, "SELECT count(*) FROM orders WHERE idempotency_key LIKE 'backlog-%'")
        print(
            f"{stored} of {options.orders} orders drained in {took_s:.1f} s ({options.orders / took_s:.0f}/s), "
            f"{accepted.value} accepted meanwhile"
        )


if __name__ == "__main__":
    main()
