"""How long the audit takes to find what somebody falsifies among many orders, on a whole cluster.

    python -m tests.acceptance.falsified --orders 10000

prints a line of JSON for each way: {"way", "found", "seconds", "kind", "status"}. `found`: within FOUND_MAX_S.
`seconds`: until `standfest audit --json` was not well and named a right kind. `status`: `standfest status` was not well
by then and pointed to the audit. The exit code is 1 where a way was not found or not said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from standfest import bootstrap
from standfest.cluster.access import DATABASE
from standfest.cluster.home import Home
from standfest.domain.products import Product
from standfest.intake.direct import Placement, place
from standfest.storage.deadline import Deadline
from tests.integration.orders import order
from tests.support.cluster import LocalCluster, start_cluster
from tests.support.falsifications import WAYS, Way, falsified

FOUND_MAX_S = 60.0
"""A way that is not found by then counts as not found."""
WELL_MAX_S = 180.0
"""All is well again so long after a way was undone."""
AT_ONCE = 24
"""Orders under way."""
_SKUS = ("falsified-1", "falsified-2")
_SHIP_TO = {"name": "Ada", "street": "Weg 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}


class ClusterStage:
    """A whole cluster as the stage of falsifications."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._home = Home(cluster.home)
        added = cluster.succeed("client", "add", f"falsified-{uuid4()}", "--scope", "admin", "--json")
        self._headers = {"Authorization": f"Bearer {json.loads(added)['key']}"}
        self._next = 0
        with self._client() as client:
            for sku in _SKUS:
                product = {
                    "sku": sku,
                    "name": {"de": "Apfel", "en": "Apple"},
                    "unit": "piece",
                    "unit_decimals": 0,
                    "net_price": "10.00",
                    "tax_class": "standard",
                    "active": True,
                    "stock_policy": "tracked",
                }
                client.put(f"/v1/products/{sku}", json=product).raise_for_status()
                client.put("/v1/stock", json={"stock": [{"sku": sku, "on_hand": "1000000"}]}).raise_for_status()

    @property
    def directories(self) -> Sequence[Path]:
        """The folders of receipts of all nodes."""
        return [self._home.node(node.name).receipts for node in self._cluster.topology.nodes]

    def connect(self) -> psycopg.Connection[Any]:
        """A superuser's connection to the primary."""
        topology = self._cluster.topology
        password = (self._cluster.home / "secrets" / "postgres-superuser").read_text(encoding="ascii").strip()
        return psycopg.connect(
            host=",".join(node.address for node in topology.nodes),
            port=str(topology.ports.postgres),
            user="postgres",
            password=password,
            dbname=DATABASE,
            target_session_attrs="read-write",
            connect_timeout=5,
        )

    def rotate(self) -> None:
        """Starts an API process of each node anew."""
        for node in self._cluster.topology.nodes:
            self._cluster.succeed("service", "restart", f"{node.name}/api")

    def sell(self, orders: int) -> None:
        """Places orders through a door."""
        asyncio.run(self._sell(orders))

    def place_behind(self) -> str:
        """Stores an order that no API process answers."""
        return asyncio.run(self._place_behind())

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._cluster.topology.doors[0].url, headers=self._headers, timeout=20)

    async def _sell(self, orders: int) -> None:
        keys = iter([str(uuid4()) for _ in range(orders)])
        lines = [{"sku": sku, "quantity": "2"} for sku in _SKUS]
        body = {"customer": {"name": "Ada"}, "ship_to": _SHIP_TO, "currency": "EUR", "lines": lines}
        doors = [door.url for door in self._cluster.topology.doors]

        async def send(client: httpx.AsyncClient) -> None:
            for key in keys:
                self._next += 1
                url = f"{doors[self._next % len(doors)]}/v1/orders"
                deadline = time.monotonic() + 60
                while True:
                    answer = await client.post(url, json=body, headers={"Idempotency-Key": key})
                    if answer.status_code in (201, 202):
                        break
                    assert time.monotonic() < deadline, answer.text
                    await asyncio.sleep(0.2)

        async with httpx.AsyncClient(headers=self._headers, timeout=20) as client:
            await asyncio.gather(*(send(client) for _ in range(min(AT_ONCE, orders))))

    async def _place_behind(self) -> str:
        with self.connect() as connection:
            ids = dict(connection.execute("SELECT sku, id FROM product WHERE sku LIKE 'falsified-%'").fetchall())
            [client_id] = connection.execute("SELECT id FROM client WHERE name LIKE 'falsified-%'").fetchone() or [None]
        wanted = order(str(uuid4()), *((_product(ids[sku], sku), 2) for sku in _SKUS), client=client_id)
        node = self._cluster.topology.nodes[0].name
        configuration = bootstrap.Configuration.from_file(self._home.node(node).config / "audit.toml")
        pool = bootstrap.database(configuration)
        try:
            [outcome] = await place(pool, [wanted], Deadline.after(30))
        finally:
            await pool.close()
        assert isinstance(outcome, Placement)
        return str(outcome.order.order_id)


def _product(identifier: int, sku: str) -> Product:
    return Product(identifier, sku, "Apfel", "Apple", "piece", 0, Decimal(10), "standard", True, "tracked", 1)


def kinds_of(document: dict[str, Any]) -> set[str]:
    """All kinds of findings and faults that `standfest audit --json` names."""
    named = {kind for kind in ("missing", "doubled", "altered", "damaged") if document[kind]}
    return named | set(document["fault_counts"])


def until(
    cluster: LocalCluster, holds: Callable[[dict[str, Any]], bool], timeout_s: float
) -> tuple[bool, dict[str, Any]]:
    """Whether `standfest audit --json` came to say what is wanted, and what it said last."""
    deadline = time.monotonic() + timeout_s
    while True:
        done = cluster.run("audit", "--json")
        document: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        if document and holds(document):
            return True, document
        if time.monotonic() > deadline:
            return False, document
        time.sleep(0.3)


def measure(cluster: LocalCluster, stage: ClusterStage, way: Way) -> dict[str, Any]:
    """What became of one way."""
    well, document = until_well(cluster)
    if not well:
        return {"way": way.name, "found": False, "seconds": None, "kind": None, "status": False, "before": document}
    with falsified(stage, way):
        began = time.monotonic()
        found, document = until(cluster, lambda said: not said["ok"] and bool(kinds_of(said) & way.kinds), FOUND_MAX_S)
        seconds = round(time.monotonic() - began, 1)
        status = cluster.run("status", "--json")
        reasons = json.loads(status.stdout)["verdict"]["reasons"]
        said = status.returncode != 0 and any("see ./standfest audit" in reason for reason in reasons)
    kinds = sorted(kinds_of(document) & way.kinds)
    return {"way": way.name, "found": found, "seconds": seconds, "kind": kinds, "status": said}


def until_well(cluster: LocalCluster) -> tuple[bool, dict[str, Any]]:
    """Waits until all is well, and stock and feed were looked at since."""
    began = time.monotonic()

    def well(document: dict[str, Any]) -> bool:
        age = document["books_pass_age_s"]
        passed = age is not None and age < time.monotonic() - began
        return bool(document["ok"]) and not document["orders_unreceipted"] and passed

    return until(cluster, well, WELL_MAX_S)


def main() -> int:
    """Runs all ways, or those whose names contain a word."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--only", default="", help="ways whose name contains this")
    arguments = parser.parse_args()
    missed = 0
    with start_cluster() as cluster:
        stage = ClusterStage(cluster)
        stage.sell(arguments.orders)
        for way in WAYS:
            if arguments.only in way.name:
                result = measure(cluster, stage, way)
                missed += not (result["found"] and result["status"])
                sys.stdout.write(f"{json.dumps(result)}\n")
                sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
