"""What a frozen API process finds when it wakes: requests that were overtaken meanwhile, and are not carried out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from standfest.catalogue.clients import add_client
from tests.support.api import PRODUCT, order_body, shared_journal
from tests.support.one_door import OneDoor, free_port, one_door
from tests.support.postgres import PostgresCluster, TestDatabase
from tests.support.served import ServedApi, served_api
from tests.support.waiting import wait_until

TIMEOUT_S = 20.0
FROZEN_S = 1.4
"""Longer than a process may stand still, and shorter than PostgreSQL lets a transaction stand idle (2 s)."""


@dataclass
class Old:
    """A process behind a door, which is frozen, and one that goes on."""

    database: TestDatabase
    behind: ServedApi
    other: ServedApi
    door: OneDoor
    headers: dict[str, str]

    def put(self, url: str, path: str, body: dict[str, Any]) -> httpx.Response:
        """Sends a change there."""
        return httpx.put(f"{url}{path}", json=body, headers=self.headers, timeout=TIMEOUT_S)

    def stock(self) -> str:
        """What is on hand."""
        on_hand: str = httpx.get(f"{self.other.url}/v1/stock/apple", headers=self.headers).json()["on_hand"]
        return on_hand

    def well(self) -> None:
        """Waits until the process behind the door takes changes: one that changes nothing."""
        body = {"stock": [{"sku": "apple", "on_hand": self.stock()}]}
        wait_until(
            lambda: self.put(self.door.url, "/v1/stock", body).status_code == 200, "changes are taken", TIMEOUT_S
        )

    def unread(self) -> bool:
        """Whether something lies in a socket of the process behind the door."""
        host, port = self.behind.address.split(":")
        local = "".join(f"{int(part):02X}" for part in reversed(host.split("."))) + f":{int(port):04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(row[1] == local and row[3] == "01" and int(row[4].split(":")[1], 16) > 100 for row in rows)


@pytest.fixture(scope="module")
def database(postgres: PostgresCluster) -> Iterator[TestDatabase]:
    """A database of this module."""
    fresh = postgres.create_database()
    yield fresh
    fresh.drop()


@pytest.fixture(scope="module")
def old(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    """Two API processes with a door in front of the first of them."""
    folder = tmp_path_factory.mktemp("old")
    port = free_port("127.0.36.1")
    for name in ("behind", "other"):
        (folder / name).mkdir()
    etcd = shared_journal()
    with (
        served_api(database, etcd, folder / "behind", f"127.0.36.1:{port}") as behind,
        served_api(database, etcd, folder / "other") as other,
        one_door(folder, ["127.0.36.1", "127.0.36.2", "127.0.36.3"], port) as door,
    ):
        behind.wait_until_ready()
        other.wait_until_ready()
        headers = {"Authorization": f"Bearer {_key(database)}"}
        old = Old(database, behind, other, door, headers)
        assert old.put(other.url, "/v1/products", {"products": [PRODUCT]}).status_code == 200
        yield old


def _key(database: TestDatabase) -> str:
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        return add_client(connection, "clerk", ("admin",))[1].text


def _sent_while_frozen(old: Old, path: str, body: dict[str, Any], newer: dict[str, Any]) -> httpx.Response:
    """The answer to a change that lay in the socket of a frozen process while a newer one was carried out."""
    old.well()
    with ThreadPoolExecutor(1) as pool:
        with old.behind.frozen():
            began = time.monotonic()
            sent: Future[httpx.Response] = pool.submit(old.put, old.door.url, path, body)
            wait_until(old.unread, "the request lies in the socket", TIMEOUT_S)
            done = old.put(old.other.url, path, newer)
            assert done.status_code == 200, done.text
            time.sleep(max(0.0, began + FROZEN_S - time.monotonic()))  # how long it is frozen is what is tested
        return sent.result(TIMEOUT_S)


def test_a_count_that_lay_in_a_frozen_process_is_not_set(old: Old) -> None:
    """A count sent to a frozen process is refused when it wakes: the newer one, set by another process, stays."""
    refused = _sent_while_frozen(old, "/v1/stock/apple", {"on_hand": "100"}, {"on_hand": "7"})
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "unavailable"), refused.text
    assert old.stock() == "7"


def test_many_counts_and_prices_that_lay_in_a_frozen_process_are_not_set(old: Old) -> None:
    """The same holds for many counts at once and for prices."""
    counts = [{"stock": [{"sku": "apple", "on_hand": on_hand}]} for on_hand in ("90", "8")]
    assert _sent_while_frozen(old, "/v1/stock", *counts).status_code == 503
    prices = [{"products": [PRODUCT | {"net_price": price}]} for price in ("1.00", "9.00")]
    assert _sent_while_frozen(old, "/v1/products", *prices).status_code == 503
    product = httpx.get(f"{old.other.url}/v1/products/apple", headers=old.headers).json()
    assert (old.stock(), product["net_price"]) == ("8", "9.00")


def test_a_count_that_was_half_done_when_its_process_froze_is_not_set(old: Old) -> None:
    """A process that is frozen with a transaction open, waiting for a stock row, does not commit it on waking, though
    the row was changed by another meanwhile and PostgreSQL has kept the transaction."""
    old.well()
    with psycopg.connect(old.database.dsn("standfest_owner")) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("UPDATE stock SET on_hand = 5, version = version + 1")
        sent = pool.submit(old.put, old.door.url, "/v1/stock/apple", {"on_hand": "100"})
        with psycopg.connect(old.database.dsn("standfest_owner"), autocommit=True) as looking:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            wait_until(lambda: looking.execute(waiting).fetchone() == (1,), "it waits for the row", TIMEOUT_S)
        with old.behind.frozen():
            holder.commit()
            time.sleep(FROZEN_S)  # how long it is frozen is what is tested
        assert sent.result(TIMEOUT_S).status_code == 503
    assert old.stock() == "5"


def test_a_process_that_woke_works_as_before(old: Old) -> None:
    """What comes after is carried out through the door again."""
    old.well()
    assert old.put(old.door.url, "/v1/stock/apple", {"on_hand": "11"}).status_code == 200
    assert old.stock() == "11"


def test_a_change_that_was_long_on_its_way_from_a_door_is_refused(old: Old) -> None:
    """A change that reaches a process much later than others from the same machine do is refused, whatever that
    machine's clock says; and through a door it does not matter what a client writes into the header."""
    old.well()
    for ahead_s in (0, 3_600):
        now = time.time() + ahead_s
        body = {"on_hand": f"{50 + ahead_s}"}

        def put(taken_at: float, url: str, body: dict[str, Any] = body) -> int:
            headers = old.headers | {"X-Taken-At": f"{taken_at * 1000:.0f}"}
            return httpx.put(f"{url}/v1/stock/apple", json=body, headers=headers, timeout=TIMEOUT_S).status_code

        assert put(now - 20, old.door.url) == 200
        assert put(now, old.other.url) == 200
        assert put(now - 20, old.other.url) == 503


def test_an_order_that_was_long_on_its_way_from_a_door_is_refused(old: Old) -> None:
    """An order that reaches a process 20 s later than others is not attempted; the same one sent anew is taken."""

    def place(taken_at: float) -> int:
        headers = old.headers | {"X-Taken-At": f"{taken_at * 1000:.0f}", "Idempotency-Key": "late"}
        body = order_body(("apple", "1"))
        return httpx.post(f"{old.other.url}/v1/orders", json=body, headers=headers, timeout=TIMEOUT_S).status_code

    now = time.time() + 3_600
    httpx.get(f"{old.other.url}/livez", headers={"X-Taken-At": f"{now * 1000:.0f}"})
    assert (place(now - 20), place(now)) == (429, 201)
