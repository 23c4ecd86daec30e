"""An API process that is cut off from database and journal, what it answers, and the doors."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg

from standfest.bootstrap import ORDER_DEADLINE_S
from standfest.catalogue.clients import add_client
from tests.support.api import PRODUCT, order_body, shared_journal
from tests.support.one_door import free_port, one_door
from tests.support.postgres import TestDatabase
from tests.support.relay import relays
from tests.support.served import served_api
from tests.support.waiting import wait_until

TIMEOUT_S = 30.0
ORDERS = 60
TAKEN = {201, 202}
"""Answers to orders that were taken; on a busy machine some go by the journal."""


def test_a_process_that_alone_is_cut_off_gets_no_orders(database: TestDatabase, tmp_path: Path) -> None:
    """Of two processes one loses database and journal: orders through a door, none of them repeated, are taken by
    the other. When that one is gone, the door passes requests on to the first all the same."""
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        headers = {"Authorization": f"Bearer {add_client(connection, 'shop', ('admin',))[1].text}"}
    etcd, port = shared_journal(), free_port("127.0.36.1")
    for name in ("cut", "well"):
        (tmp_path / name).mkdir()
    with (
        relays([f"{database.host}:{database.port}", *etcd.addresses]) as ways,
        served_api(
            database,
            etcd,
            tmp_path / "cut",
            f"127.0.36.1:{port}",
            hosts=[ways[0].address],
            members=[way.address for way in ways[1:]],
        ) as cut,
        served_api(database, etcd, tmp_path / "well", f"127.0.36.2:{port}") as well,
        one_door(tmp_path, ["127.0.36.1", "127.0.36.2", "127.0.36.3"], port) as door,
    ):
        cut.wait_until_ready()
        well.wait_until_ready()
        product = PRODUCT | {"stock_policy": "untracked"}
        put = httpx.put(f"{well.url}/v1/products", json={"products": [product]}, headers=headers, timeout=TIMEOUT_S)
        assert put.status_code == 200, put.text

        def place() -> int:
            more = headers | {"Idempotency-Key": str(uuid4())}
            body = order_body(("apple", "1"))
            return httpx.post(f"{door.url}/v1/orders", json=body, headers=more, timeout=TIMEOUT_S).status_code

        assert {place() for _ in range(10)} <= TAKEN
        for way in ways:
            way.cut()
        wait_until(lambda: "cut off" in httpx.get(f"{cut.url}/readyz", timeout=TIMEOUT_S).text, "unready", TIMEOUT_S)
        wait_until(lambda: door.states()["n1-api"].startswith("NOLB"), "the door knows", TIMEOUT_S)
        assert {place() for _ in range(ORDERS)} <= TAKEN
        well.kill()
        wait_until(lambda: door.states()["n2-api"].startswith("DOWN"), "the other is gone", TIMEOUT_S)
        assert httpx.get(f"{door.url}/v1/openapi.json", timeout=TIMEOUT_S).status_code == 200
        refused = httpx.get(f"{door.url}/v1/orders", headers=headers, timeout=TIMEOUT_S)
        assert (refused.status_code, refused.headers.get("X-Answered-By")) == (503, None)


def test_a_process_whose_database_and_journal_stand_still_refuses_orders(
    database: TestDatabase, tmp_path: Path
) -> None:
    """Once it knows that neither answers, it attempts nothing: 503, try again, and not 504, perhaps it was placed."""
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        headers = {"Authorization": f"Bearer {add_client(connection, 'shop', ('admin',))[1].text}"}
    etcd, port = shared_journal(), free_port("127.0.36.1")
    with (
        relays([f"{database.host}:{database.port}", *etcd.addresses]) as ways,
        served_api(
            database,
            etcd,
            tmp_path,
            f"127.0.36.1:{port}",
            hosts=[ways[0].address],
            members=[way.address for way in ways[1:]],
        ) as api,
    ):
        api.wait_until_ready()
        product = PRODUCT | {"stock_policy": "untracked"}
        put = httpx.put(f"{api.url}/v1/products", json={"products": [product]}, headers=headers, timeout=TIMEOUT_S)
        assert put.status_code == 200, put.text

        def place() -> httpx.Response:
            more = headers | {"Idempotency-Key": str(uuid4())}
            return httpx.post(f"{api.url}/v1/orders", json=order_body(("apple", "1")), headers=more, timeout=TIMEOUT_S)

        assert place().status_code in TAKEN
        for way in ways:
            way.stall()
        assert place().status_code in (503, 504)  # 504: it was sent, and may have been placed
        wait_until(lambda: "cut off" in httpx.get(f"{api.url}/readyz", timeout=TIMEOUT_S).text, "unready", TIMEOUT_S)

        def refuses_at_once() -> bool:
            began = time.monotonic()
            return {place().status_code for _ in range(10)} == {503} and time.monotonic() - began < ORDER_DEADLINE_S

        wait_until(refuses_at_once, "it attempts nothing any more", TIMEOUT_S)
        assert place().headers.get("Retry-After") == "1"
