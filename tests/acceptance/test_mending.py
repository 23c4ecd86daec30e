"""Copies that no restart mends, on a whole cluster: each is made anew by itself, while orders flow."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from standfest.clients.attempts import Acknowledged
from standfest.clients.orders import OrdersClient
from standfest.cluster.handle import connected
from standfest.cluster.home import Home
from tests.support.api import PRODUCT, order_body
from tests.support.cluster import LocalCluster

SCOPES = ("orders:write", "orders:read", "catalogue:write", "stock:write")
SKU = "MENDED"
ORDER = order_body((SKU, "1"))
EVERY_S = 0.2
MENDED_TIMEOUT_S = 180.0


@pytest.fixture(autouse=True)
def _well(cluster: LocalCluster) -> None:
    """Every test starts with a cluster that is well."""
    cluster.until_well()


@pytest.fixture(scope="module")
def key(cluster: LocalCluster) -> str:
    """The key of a client that may place orders."""
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    return str(json.loads(cluster.succeed("client", "add", "mending", *scopes, "--json"))["key"])


def under_orders(cluster: LocalCluster, key: str, act: Callable[[], None], run: str) -> None:
    """Do something while orders are placed one after the other, none of which may fail."""

    async def both() -> None:
        async with OrdersClient([door.url for door in cluster.topology.doors], key) as client:
            assert isinstance(await client.put_products([{**PRODUCT, "sku": SKU}]), Acknowledged)
            assert isinstance(await client.put_stock([{"sku": SKU, "on_hand": "100000"}]), Acknowledged)
            acting = asyncio.create_task(asyncio.to_thread(act))
            number = 0
            while not acting.done():
                outcome = await client.place(ORDER, f"{run}-{number}")
                assert isinstance(outcome, Acknowledged), outcome
                number += 1
                await asyncio.sleep(EVERY_S)
            await acting

    asyncio.run(both())


def reason_of(cluster: LocalCluster, name: str) -> str:
    """What `status` says of NODE/NAME; empty where nothing."""
    reasons = cluster.look()["verdict"]["reasons"]
    return next((reason for reason in reasons if reason.startswith(name)), "")


def until_said(cluster: LocalCluster, name: str, words: str) -> None:
    """Wait until `status` says why a service is made anew."""
    deadline = time.monotonic() + MENDED_TIMEOUT_S
    while words not in reason_of(cluster, name):
        assert time.monotonic() < deadline, reason_of(cluster, name)
        time.sleep(EVERY_S)


def log_of(cluster: LocalCluster, node: str, name: str) -> str:
    """What a node's program has said."""
    return (cluster.home / "nodes" / node / "logs" / f"{name}.log").read_text(errors="replace")


def wipe(cluster: LocalCluster, node: str, store: str) -> None:
    """Kill a member of an etcd, and remove its data before anything starts it again."""
    pid = cluster.pid(f"{node}/{store}")
    os.kill(pid, signal.SIGSTOP)
    shutil.rmtree(cluster.home / "nodes" / node / store)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("store", ["journal", "etcd"])
def test_a_member_whose_disk_was_wiped_takes_its_place_again(cluster: LocalCluster, key: str, store: str) -> None:
    """A member of either etcd is killed and its data removed, nobody does anything, and it is a member again."""

    def act() -> None:
        wipe(cluster, "n2", store)
        cluster.until("it is seen", lambda _: f"n2/{store}: it takes" in log_of(cluster, "n2", "restarter"))
        cluster.until_well(MENDED_TIMEOUT_S)

    under_orders(cluster, key, act, f"wiped-{store}")
    assert list((cluster.home / "nodes" / "n2" / store / "member" / "wal").glob("*.wal"))
    assert f"n2/{store} has its place" in log_of(cluster, "n2", "restarter")


def test_a_wiped_member_waits_until_the_others_are_well(cluster: LocalCluster, key: str) -> None:
    """While another member is held a wiped one takes no place, and `status` says for what it waits; then it does."""

    def act() -> None:
        cluster.succeed("service", "stop", "n3/journal")
        wipe(cluster, "n2", "journal")
        until_said(cluster, "n2/journal", "it waits for the members on n1 and n3 to be well")
        told = cluster.run("doctor").stdout
        assert "n2/journal is made anew by its node" in told
        assert "its data is gone" in told
        cluster.succeed("service", "start", "n3/journal")
        cluster.until_well(MENDED_TIMEOUT_S)

    under_orders(cluster, key, act, "waiting")


def test_a_member_whose_data_is_damaged_takes_its_place_again(cluster: LocalCluster, key: str) -> None:
    """One byte of a member's log is another: etcd refuses it, and the member is made anew; the damaged data is kept."""
    data = cluster.home / "nodes" / "n3" / "journal"

    def damage() -> None:
        log = min((data / "member" / "wal").glob("*.wal"))
        pid = cluster.pid("n3/journal")
        os.kill(pid, signal.SIGSTOP)
        with log.open("r+b") as file:
            file.seek(200)
            byte = file.read(1)
            file.seek(200)
            file.write(bytes([byte[0] ^ 0xFF]))
        os.kill(pid, signal.SIGKILL)
        cluster.until("it is seen", lambda _: "because its data is damaged" in log_of(cluster, "n3", "restarter"))
        cluster.until_well(MENDED_TIMEOUT_S)

    under_orders(cluster, key, damage, "damaged")
    assert list((data.with_name("journal.given-up") / "member" / "wal").glob("*.wal"))


def configure(cluster: LocalCluster, node: str, parameters: dict[str, str | None]) -> None:
    """Give all databases settings through the Patroni of a node."""

    async def change() -> None:
        async with connected(Home(cluster.home), cluster.topology) as connection:
            await connection.patroni(cluster.topology.node(node)).configure({"postgresql": {"parameters": parameters}})

    asyncio.run(change())


def write_more_wal_than_is_kept(cluster: LocalCluster, needed: Path) -> None:
    """Fill segments on the primary until it has removed the one that a standby needs next."""
    deadline = time.monotonic() + MENDED_TIMEOUT_S
    segment = max(file.name for file in needed.iterdir() if len(file.name) == 24 and "." not in file.name)
    gone = f"SELECT NOT EXISTS (SELECT FROM pg_ls_waldir() WHERE name <= '{segment}' AND name ~ '^[0-9A-F]{{24}}$')"
    while True:
        assert time.monotonic() < deadline, f"{segment} is still there"
        with contextlib.suppress(psycopg.OperationalError):  # on a slow machine the primary may be another one by now
            if cluster.ask(gone) == "True":
                return
            for _ in range(4):
                cluster.do("SELECT pg_logical_emit_message(false, 'filling', repeat('x', 1000)), pg_switch_wal()")
            with cluster.connect() as connection:
                connection.autocommit = True
                connection.execute("CHECKPOINT")


def test_a_standby_that_is_too_far_behind_is_cloned_from_the_other_one(cluster: LocalCluster, key: str) -> None:
    """A node that was away for longer than its primary keeps WAL is a standby again by itself, cloned from the other
    standby, and says so."""
    primary = cluster.primary()
    away, other = [node.name for node in cluster.topology.nodes if node.name != primary]
    node = cluster.home / "nodes" / away
    configure(cluster, other, {"wal_keep_size": "0", "max_slot_wal_keep_size": "32MB", "max_wal_size": "64MB"})

    def leave_behind() -> None:
        cluster.succeed("node", "stop", away)
        try:
            write_more_wal_than_is_kept(cluster, node / "postgres" / "pg_wal")
        finally:
            cluster.run("node", "start", away)  # its services may be waited for in vain
        until_said(cluster, f"{away}/postgres", "already been removed")
        cluster.until_well(MENDED_TIMEOUT_S)

    try:
        under_orders(cluster, key, leave_behind, "behind")
    finally:
        configure(cluster, other, {"wal_keep_size": "512MB", "max_slot_wal_keep_size": "4GB", "max_wal_size": "2GB"})
    assert cluster.primary() == primary
    assert f"from replica '{other}'" in log_of(cluster, away, "patroni")
