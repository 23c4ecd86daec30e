"""The way back when two nodes are gone for good, on a whole cluster: what the survivor holds is all there."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator, Mapping

import httpx
import pytest

from standfest.clients.attempts import Acknowledged
from standfest.clients.orders import OrdersClient
from tests.support.api import PRODUCT, order_body
from tests.support.cluster import LocalCluster, start_cluster

SCOPES = ("orders:write", "orders:read", "catalogue:write", "stock:write", "changes:read")
SKU = "SURVIVES"
ORDER = order_body((SKU, "1"))
PLACED = 5
"""Orders of each kind."""
DRAINED_TIMEOUT_S = 60.0
POLL_S = 0.2


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A cluster of its own: its nodes are destroyed."""
    with start_cluster() as cluster:
        yield cluster


def client_of(cluster: LocalCluster, key: str) -> OrdersClient:
    """A client that knows both doors."""
    return OrdersClient([door.url for door in cluster.topology.doors], key)


async def prepare(client: OrdersClient) -> None:
    """One product with enough stock."""
    product = {**PRODUCT, "sku": SKU}
    assert isinstance(await client.put_products([product]), Acknowledged)
    assert isinstance(await client.put_stock([{"sku": SKU, "on_hand": "100"}]), Acknowledged)


async def place(client: OrdersClient, first: int, count: int, status: int) -> dict[str, str]:
    """Places orders one after the other, each answered with `status`; ids by key."""
    ids = {}
    for key in (f"survives-{number}" for number in range(first, first + count)):
        outcome = await client.place(ORDER, key)
        assert isinstance(outcome, Acknowledged)
        assert outcome.status == status, outcome.body
        ids[key] = str(outcome.body["id"])
    return ids


async def until_confirmed(client: OrdersClient, ids: Mapping[str, str]) -> None:
    """Waits until each order is confirmed, and asserts that a repeat finds the same one."""
    deadline = time.monotonic() + DRAINED_TIMEOUT_S
    for key, order_id in ids.items():
        while (status := (await client.order(order_id)).body.get("status")) != "confirmed":
            assert time.monotonic() < deadline, f"{order_id} is {status}"
            await asyncio.sleep(POLL_S)
        again = await client.place(ORDER, key)
        assert isinstance(again, Acknowledged)
        assert again.body["id"] == order_id


def changes(cluster: LocalCluster, key: str, after: str | None = None) -> httpx.Response:
    """A page of the feed of changes."""
    door = cluster.topology.doors[0].url
    parameters = {} if after is None else {"after": after}
    return httpx.get(f"{door}/v1/changes", params=parameters, headers={"Authorization": f"Bearer {key}"}, timeout=20)


def test_one_node_is_enough_to_lose_nothing_that_it_holds(cluster: LocalCluster) -> None:
    """Two nodes are destroyed: recover refuses while they have disks, then serves again with every order that the
    survivor holds in its database, its journal, or the journal's history, and two new nodes join. Until then neither
    `up` nor `node start` makes a second cluster of the two that are empty. Who follows the feed has to start again."""
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    key = str(json.loads(cluster.succeed("client", "add", "survivor", *scopes, "--json"))["key"])
    primary = cluster.primary()
    other, survivor = (node.name for node in cluster.topology.nodes if node.name != primary)

    cursors: list[str] = []

    async def orders() -> dict[str, str]:
        async with client_of(cluster, key) as client:
            await prepare(client)
            ids = await place(client, 0, PLACED, 201)
            for standby in (survivor, other):
                await asyncio.to_thread(cluster.succeed, "service", "stop", f"{standby}/postgres", "--crash")
            drained = await place(client, PLACED, PLACED, 202)
            # Written on the two nodes that are lost below: the survivor has them in its journal's history alone.
            await asyncio.to_thread(cluster.succeed, "service", "start", f"{other}/postgres")
            await until_confirmed(client, drained)
            cursors.append((await asyncio.to_thread(changes, cluster, key)).json()["next"])
            await asyncio.to_thread(cluster.succeed, "service", "stop", f"{other}/postgres", "--crash")
            return ids | drained | await place(client, 2 * PLACED, PLACED, 202)

    ids = asyncio.run(orders())
    for lost in (primary, other):
        cluster.succeed("node", "stop", lost, "--crash")
    refused = cluster.run("recover", survivor, "--yes")
    assert refused.returncode == 1
    assert "not lost for good" in refused.stderr
    for lost in (primary, other):
        shutil.rmtree(cluster.home / "nodes" / lost)
    for command in (("up",), ("node", "start", primary)):
        refused = cluster.run(*command)
        assert refused.returncode == 1
        assert f"./standfest recover {survivor}" in refused.stderr
    assert not any((cluster.home / "nodes" / lost / "etcd").exists() for lost in (primary, other))
    told = json.loads(cluster.succeed("recover", survivor, "--yes", "--json", codes=(0, 1)))
    assert told["alone"] is True
    assert told["brought_back"] >= PLACED
    assert set(told["joined"]) == {primary, other}
    cluster.until_well()
    cluster.assert_protected()

    async def check() -> None:
        async with client_of(cluster, key) as client:
            await until_confirmed(client, ids)

    asyncio.run(check())
    gone = changes(cluster, key, cursors[0])
    assert gone.status_code == 410, gone.text
    again = changes(cluster, key, changes(cluster, key).json()["next"])
    assert again.status_code == 200, again.text
