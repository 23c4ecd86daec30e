"""The cluster that is measured, as the benchmarks use it."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from standfest.clients.attempts import Acknowledged, RetryPolicy
from standfest.clients.orders import OrdersClient
from standfest.cluster.handle import Cluster
from standfest.scaling.bench.child import BenchFailed, output
from standfest.scaling.bench.load import CONNECT_S, LAST_ANSWERS_S, Load, Sent, sent_from
from standfest.scaling.bench.reference import Writing
from standfest.scaling.bench.requests import SKU, product
from standfest.telemetry.names import INTAKE_BOTH_PATHS

PRODUCTS = 10_000
STOCK = 999_999_999
WARM_UP_S = 2.0
PIECE = 500
METRICS_TIMEOUT_S = 15.0
"""On a starved machine, too."""
_POLICY = RetryPolicy(deadline_s=30.0)
_ENDS_AFTER_S = 10.0
_BOTH_PATHS = re.compile(rf"^{INTAKE_BOTH_PATHS} (\S+)$".encode(), re.MULTILINE)

Address = tuple[str, int]


@dataclass(frozen=True)
class Target:
    """Made by `prepare`."""

    cluster: Cluster
    key: str
    """Of the client that sends; secret."""
    writing: Writing

    @property
    def apis(self) -> list[Address]:
        """Every API process."""
        topology = self.cluster.topology
        return [(node.address, port) for node in topology.nodes for port in topology.api_ports()]

    @property
    def doors(self) -> list[Address]:
        """Every door."""
        return [(door.address, door.port) for door in self.cluster.topology.doors]

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """The primary, as the owner of the schema."""
        async with await psycopg.AsyncConnection.connect(self.writing.owner, autocommit=True) as connection:
            yield connection

    async def orders_of(self, run: str) -> int:
        """How many orders of a load are in the database."""
        async with self.database() as connection:
            counting = """
                SELECT count(*) FROM orders
                WHERE client_id = %s AND idempotency_key > %s || '-' AND idempotency_key < %s || '.'
            """
            cursor = await connection.execute(counting, [self.writing.client, run, run])
            return int((await cursor.fetchall())[0][0])

    async def some_orders(self, at_most: int) -> Sequence[UUID]:
        """Ids of orders of the client that sends, from all of the table."""
        async with self.database() as connection:
            choosing = """
                SELECT order_id FROM orders
                WHERE
                    client_id = %(client)s
                    AND id IN (SELECT ceil(random() * (SELECT max(id) FROM orders)) FROM generate_series(1, %(tries)s))
                LIMIT %(at_most)s
            """
            cursor = await connection.execute(
                choosing, {"client": self.writing.client, "tries": 4 * at_most, "at_most": at_most}
            )
            return [order_id for (order_id,) in await cursor.fetchall()]

    async def on_both_paths(self) -> float:
        """How many orders have cost work on both paths since the API processes began.

        Raises:
            UnreachableError: one of them does not answer.
            BenchFailed: one of them does not say.
        """
        asking = (
            self.cluster.asker.ask("GET", f"http://{host}:{port}/metrics", timeout_s=METRICS_TIMEOUT_S)
            for host, port in self.apis
        )
        found = [_BOTH_PATHS.search(answer.body) for answer in await asyncio.gather(*asking)]
        if None in found:
            raise BenchFailed(f"an API process has no {INTAKE_BOTH_PATHS} among its metrics")
        return sum(float(each[1]) for each in found if each)

    async def leave_free(self, product: int, pieces: int) -> None:
        """Makes so many pieces of a product free to be sold, as a count of the warehouse would."""
        async with self.database() as connection:
            counting = "UPDATE stock SET on_hand = reserved + %s, version = version + 1 WHERE product_id = %s"
            await connection.execute(counting, [pieces, product])

    async def oversold(self) -> int:
        """Pieces of all products that orders reserve and that are not there, or not counted as reserved."""
        async with self.database() as connection:
            cursor = await connection.execute(
                """
                SELECT coalesce(sum(greatest(stock.reserved - stock.on_hand, 0) + abs(stock.reserved - sold.pieces)), 0)
                FROM stock
                INNER JOIN (SELECT product_id, sum(reserved) AS pieces FROM order_line GROUP BY product_id) AS sold
                    ON stock.product_id = sold.product_id
                """
            )
            return int((await cursor.fetchall())[0][0])


async def prepare(cluster: Cluster, pgbench: Path, app: str, owner: str, client: str, key: str) -> Target:
    """Puts the benchmarks' products and stock into the catalogue.

    `app` and `owner` are libpq connection strings of the roles that write orders and own the schema; `key` is one of
    the client called `client`. Raises BenchFailed.
    """
    doors = [door.url for door in cluster.topology.doors]
    async with OrdersClient(doors, key, policy=_POLICY) as api:
        for first in range(0, PRODUCTS, PIECE):
            numbers = range(first, first + PIECE)
            stock = [{"sku": SKU % number, "on_hand": str(STOCK)} for number in numbers]
            for outcome in (
                await api.put_products([product(number) for number in numbers]),
                await api.put_stock(stock),
            ):
                if not isinstance(outcome, Acknowledged):
                    raise BenchFailed(f"the benchmarks' products were not taken: {outcome}; see `standfest status`")
    async with await psycopg.AsyncConnection.connect(owner, autocommit=True) as connection:
        finding = "SELECT min(id), max(id), count(*) FROM product WHERE starts_with(sku, 'BENCH-')"
        ((first_id, last_id, count),) = await (await connection.execute(finding)).fetchall()
        found = await (await connection.execute("SELECT id FROM client WHERE name = %s", [client])).fetchone()
    if last_id - first_id + 1 != count or count != PRODUCTS or found is None:
        raise BenchFailed("the benchmarks' products do not follow each other: measure on a cluster without others")
    writing = Writing(pgbench, app, owner, str(found[0]), first_id)
    await writing.make_tables()
    return Target(cluster, key, writing)


async def send(load: Load) -> Sent:
    """Sends a load from a process of its own. Raises BenchFailed."""
    command = [sys.executable, "-m", "standfest.scaling.bench.load"]
    timeout_s = load.warm_up_s + load.seconds + CONNECT_S + LAST_ANSWERS_S + _ENDS_AFTER_S
    return sent_from(await output("who sends the load", command, timeout_s, given=load.order()))
