"""A definite refusal holds: it rests on what a standby has, and on no order that is on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import psycopg
import pytest

from standfest.intake import intake
from tests.integration.test_api_movements import move
from tests.integration.test_api_orders import new_product, place
from tests.integration.test_api_repeats import deactivate
from tests.support.api import RunningApi, running_api
from tests.support.postgres import TestDatabase
from tests.support.waiting import wait_until


@pytest.fixture
def api(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApi]:
    """An API on a database of this test, whose orders wait for locked stock until their deadline."""
    monkeypatch.setattr(intake, "HELD_ALONE_S", 60.0)
    with running_api(database, order_deadline_s=15) as running:
        yield running


def cancel(client: httpx.Client, order_id: str) -> httpx.Response:
    """Cancels a whole order."""
    headers = {"Idempotency-Key": str(uuid4())}
    return client.post(f"/v1/orders/{order_id}/cancel", json={"reason": "x"}, headers=headers)


def test_what_only_the_primary_has_refuses_no_change(api: RunningApi, database: TestDatabase) -> None:
    """While no standby answers, no change is refused for a version, a product, or a state that only the primary has;
    once one does, it is."""
    with api.client() as admin, ThreadPoolExecutor() as pool:
        sku = new_product(admin)
        order_id = place(admin, sku).json()["id"]
        tag = admin.get(f"/v1/stock/{sku}").headers["ETag"]
        changes: list[Callable[[], httpx.Response]] = [
            lambda: admin.put(f"/v1/stock/{sku}", json={"on_hand": "7"}, headers={"If-Match": tag}),
            lambda: admin.put("/v1/stock/nobody", json={"on_hand": "7"}),
            lambda: admin.put("/v1/stock", json={"stock": [{"sku": "nobody", "on_hand": "7"}]}),
            lambda: move(admin, "nobody", "+1"),
            lambda: cancel(admin, order_id),
            lambda: cancel(admin, str(uuid4())),
        ]

        def statuses() -> list[int]:
            return [answer.status_code for answer in pool.map(lambda change: change(), changes)]

        with database.standby.paused():
            with psycopg.connect(database.dsn("postgres"), autocommit=True) as root:
                root.execute("SET synchronous_commit = local")
                root.execute("UPDATE stock SET version = version + 1")
                root.execute("UPDATE orders SET status = 'cancelled' WHERE order_id = %s", (order_id,))
            assert statuses() == [503] * len(changes)
        assert statuses() == [412, 404, 422, 404, 409, 404]


def test_an_order_that_is_on_its_way_is_not_refused(api: RunningApi, database: TestDatabase) -> None:
    """Where its product is taken from sale while it waits for locked stock, its repeat gets the answer that it gets."""
    with api.client() as admin, api.client("orders:write") as shop, ThreadPoolExecutor() as pool:
        sku, key = new_product(admin), str(uuid4())
        orders = api.services.intake
        with psycopg.connect(database.dsn("standfest_owner")) as holder:
            holder.execute("SELECT FROM stock FOR UPDATE")
            first = pool.submit(place, shop, sku, key=key)
            wait_until(lambda: orders.under_way == 1, "the order is under way", 10)
            deactivate(api, admin, sku)
            again = pool.submit(place, shop, sku, key=key)
            wait_until(lambda: again.done() or orders.under_way == 2, "its repeat is", 10)
            assert not first.done()
        assert (first.result().status_code, again.result().status_code) == (201, 201)
        assert first.result().json() == again.result().json()
        assert place(shop, sku).status_code == 422
