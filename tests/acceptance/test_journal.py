"""The journal of a whole cluster by its own commands, and a home of the release before there was one."""

import asyncio
import datetime
import json
import shutil
from uuid import UUID

import msgspec
import pytest

from standfest.clients.etcd_kv import Delete, Put, Range, RangeResult, Txn
from standfest.cluster.handle import connected
from standfest.cluster.home import Home
from standfest.cluster.topology_file import parse_topology, render_topology
from standfest.intake.entries import encode_quarantined
from tests.support.cluster import LocalCluster

NODES = ("n1", "n2", "n3")
BY_DATABASE = "orders are accepted by the database alone: while it fails over none will be"


@pytest.fixture(autouse=True)
def _well(cluster: LocalCluster) -> None:
    """Every test starts with a cluster that is well."""
    cluster.until_well()


def set_apart(cluster: LocalCluster, order_id: UUID, reason: str) -> None:
    """Set an entry apart that waits, as a worker does where it cannot be drained."""

    async def act() -> None:
        waiting, apart = (f"standfest/{place}/{order_id}".encode() for place in ("o", "x"))
        since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        async with connected(Home(cluster.home), cluster.topology) as connection:
            store = connection.journal_store()
            read = (await store.txn(Txn((), (Range(waiting),)), 5.0)).result.results[0]
            assert isinstance(read, RangeResult)
            noted = encode_quarantined(read.values[0].value, reason, since)
            await store.txn(Txn((), (Put(apart, noted), Delete(waiting))), 5.0)

    asyncio.run(act())


def test_what_is_set_apart_is_shown_and_put_back(cluster: LocalCluster) -> None:
    """`journal` names what waits too long and what is set apart; `retry` puts it back, and workers drain it.

    What waits are the synthetic orders, while no worker runs: that the cluster could not lose a node then is said.
    """
    for node in NODES:
        cluster.succeed("service", "stop", f"{node}/worker")
    status = cluster.look()
    assert not status["verdict"]["can_lose_a_node"]
    assert "the loss of n1 would leave no worker that drains the journal" in status["verdict"]["reasons"]
    cluster.until(
        "an order waits", lambda _: json.loads(cluster.run("journal", "--json").stdout)["backlog"]["count"] > 0
    )
    order_id = UUID(json.loads(cluster.run("journal", "--json").stdout)["backlog"]["oldest_id"])
    assert json.loads(cluster.succeed("journal", "show", str(order_id), "--json"))["state"] == "waiting"
    set_apart(cluster, order_id, "it was set apart by a test")

    shown = json.loads(cluster.succeed("journal", "show", str(order_id), "--json"))
    assert (shown["state"], shown["entry"]["reason"]) == ("quarantined", "it was set apart by a test")
    told = json.loads(cluster.succeed("journal", "--json", codes=(1,)))
    assert "1 orders are set apart: a person has to look at them" in told["verdict"]["reasons"]
    assert [entry["id"] for entry in told["quarantine"]["orders"]] == [str(order_id)]
    cluster.succeed("journal", "retry", str(order_id))
    assert json.loads(cluster.succeed("journal", "show", str(order_id), "--json"))["entry"] == shown["entry"]["entry"]
    assert "waits to be drained already" in cluster.run("journal", "retry", str(order_id)).stderr

    for node in NODES:
        cluster.succeed("service", "start", f"{node}/worker")
    cluster.until("it is drained", lambda _: cluster.run("journal", "show", str(order_id)).returncode == 2)
    cluster.until("the journal is well", lambda _: cluster.run("journal").returncode == 0)


def test_without_the_journal_orders_are_still_taken(cluster: LocalCluster) -> None:
    """With the journal's quorum held the cluster is up and cannot lose a node, and `journal` ends with 2."""
    assert [service["role"] for service in _members(cluster)].count("leader") == 1
    for node in ("n1", "n2"):
        cluster.succeed("service", "stop", f"{node}/journal", "--crash")
    status = cluster.until("it is told", lambda status: BY_DATABASE in status["verdict"]["reasons"])
    assert status["verdict"]["up"]
    assert not status["verdict"]["can_lose_a_node"]
    assert cluster.run("journal").returncode == 2
    cluster.succeed("up", codes=(1,))
    for node in ("n1", "n2"):
        cluster.succeed("service", "start", f"{node}/journal")


def test_a_home_of_the_release_before_gets_its_journal(cluster: LocalCluster) -> None:
    """`up` on a home without a journal makes one, and a cluster that runs takes up a service that is new to it."""
    file = cluster.home / "topology.toml"
    now = file.read_text(encoding="utf-8")
    cluster.succeed("down")
    for node in NODES:
        for directory in ("journal", "catalogue", "receipts"):
            shutil.rmtree(cluster.home / "nodes" / node / directory)
    file.write_text(without_news(now), encoding="utf-8")
    cluster.succeed("up")
    before = pids(cluster)
    assert "n1/audit" not in before

    file.write_text(now, encoding="utf-8")
    cluster.succeed("up")
    after = pids(cluster)
    assert {name: pid for name, pid in after.items() if not name.endswith("/audit")} == before
    assert all(after[f"{node}/audit"] for node in NODES)


def without_news(text: str) -> str:
    """The topology file as the release before wrote it, but for the entry that there is no audit."""
    topology = parse_topology(text, "home")
    processes = msgspec.structs.replace(topology.processes, audit=0)
    tables = render_topology(msgspec.structs.replace(topology, processes=processes)).split("\n\n")
    known = "\n\n".join(table for table in tables if not table.startswith(("[journal]", "[catalogue]")))
    return "".join(f"{line}\n" for line in known.splitlines() if not line.startswith("journal_"))


def pids(cluster: LocalCluster) -> dict[str, object]:
    """The process of every service."""
    nodes = cluster.status()["nodes"]
    return {f"{node['name']}/{service['name']}": service["pid"] for node in nodes for service in node["services"]}


def _members(cluster: LocalCluster) -> list[dict[str, object]]:
    nodes = cluster.look()["nodes"]
    return [service for node in nodes for service in node["services"] if service["name"] == "journal"]
