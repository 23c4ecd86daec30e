"""Movements of stock over HTTP: each once, none below zero, all of them kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import psycopg
import pytest

from standfest.interfaces.api.problems import TYPE_PREFIX
from tests.integration.test_api_orders import new_product, place
from tests.support.api import PRODUCT, RunningApi
from tests.support.waiting import wait_until


@pytest.fixture
def clerk(api: RunningApi) -> Iterator[httpx.Client]:
    """A client that may write stock and nothing else."""
    with api.client("stock:write") as client:
        yield client


def move(client: httpx.Client, sku: str, quantity: str, key: str | None = None, **more: Any) -> httpx.Response:
    """The answer to a movement."""
    body = {"quantity": quantity, "reason": "correction", **more}
    headers = {"Idempotency-Key": key or str(uuid4())}
    return client.post(f"/v1/stock/{quote(sku, safe='')}/movements", json=body, headers=headers)


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and slug."""
    return response.status_code, response.json()["type"].removeprefix(TYPE_PREFIX)


def test_a_movement_is_added_and_answered_with_the_stock(admin: httpx.Client, clerk: httpx.Client) -> None:
    """More and less is added to what is there, and the answer has the stock as it is now, with its version."""
    sku = new_product(admin, on_hand="10")
    place(admin, sku, "4")
    more = move(clerk, sku, "+5", reason="received", note="pallet 7")
    assert more.status_code == 200, more.text
    answer = more.json()
    assert answer["stock"] == clerk.get(f"/v1/stock/{sku}").json()
    assert (answer["stock"]["on_hand"], answer["stock"]["reserved"], answer["stock"]["available"]) == ("15", "4", "11")
    movement = answer["movement"]
    assert movement.pop("at").endswith("Z")
    assert movement == {
        "quantity": "+5", "reason": "received", "note": "pallet 7", "on_hand": "15",
        "version": answer["stock"]["version"],
    }  # fmt: skip
    assert more.headers["ETag"] == f'"{answer["stock"]["version"]}"'
    assert move(clerk, sku, "-15").json()["stock"]["on_hand"] == "0"


def test_a_repeated_movement_is_the_same_one(admin: httpx.Client, clerk: httpx.Client) -> None:
    """Ten times at once and again later, with other movements between, a request under one key moves stock once; its
    repeats get the movement as it was and the stock as it is."""
    sku, key = new_product(admin, on_hand="10"), str(uuid4())
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: move(clerk, sku, "-3", key), range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert {answer.json()["movement"]["on_hand"] for answer in answers} == {"7"}
    move(clerk, sku, "+1")
    again = move(clerk, sku, "-3", key).json()
    assert again["movement"] == answers[0].json()["movement"]
    assert (again["movement"]["on_hand"], again["stock"]["on_hand"]) == ("7", "8")


def test_a_key_belongs_to_one_movement(admin: httpx.Client, clerk: httpx.Client) -> None:
    """The same key with another quantity, for another product or with another note is refused, and moves nothing."""
    sku, other, key = new_product(admin, on_hand="10"), new_product(admin, on_hand="10"), str(uuid4())
    assert move(clerk, sku, "+1", key).status_code == 200
    refused = [move(clerk, sku, "+2", key), move(clerk, other, "+1", key), move(clerk, sku, "+1", key, note="x")]
    assert [problem(each) for each in refused] == [(422, "idempotency-key-reused")] * 3
    assert [clerk.get(f"/v1/stock/{each}").json()["on_hand"] for each in (sku, other)] == ["11", "10"]


def test_a_movement_below_zero_is_refused_for_ever(admin: httpx.Client, clerk: httpx.Client) -> None:
    """What would leave less than nothing is refused with what is there, and its repeat as well, though more has come by
    then: who was told no may rely on it."""
    sku, key = new_product(admin, on_hand="2"), str(uuid4())
    first = move(clerk, sku, "-3", key)
    assert (problem(first), first.json()["on_hand"]) == ((409, "stock-out-of-range"), "2")
    assert move(clerk, sku, "+10").status_code == 200
    again = move(clerk, sku, "-3", key)
    assert (problem(again), again.json()["on_hand"]) == ((409, "stock-out-of-range"), "2")
    assert clerk.get(f"/v1/stock/{sku}").json()["on_hand"] == "12"
    assert problem(move(clerk, sku, "+999999999")) == (409, "stock-out-of-range")


def test_many_movements_at_once_add_up(api: RunningApi, admin: httpx.Client, clerk: httpx.Client) -> None:
    """Of forty movements of one product at once, as many are applied as there is stock for; each is kept with what it
    left and the version that it made, one after the other."""
    sku = new_product(admin, on_hand="25")
    with ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(lambda _: move(clerk, sku, "-1").status_code, range(40)))
    assert statuses == [200] * 25 + [409] * 15
    with psycopg.connect(api.database.dsn("standfest_owner")) as connection:
        rows = connection.execute(
            "SELECT movement.version, movement.on_hand, movement.quantity, movement.reason, movement.actor"
            " FROM stock_movement AS movement INNER JOIN product ON product.id = movement.product_id"
            " WHERE product.sku = %s AND applied ORDER BY movement.version",
            (sku,),
        ).fetchall()
    first = rows[0][0]
    assert [row[:4] for row in rows] == [(first + n, 24 - n, -1, "correction") for n in range(25)]
    assert {row[4].partition(":")[0] for row in rows} == {"client"}


@pytest.mark.parametrize("quantity", ["3", "+", "-0", "+0.0", "1e3", "+1.5", "--1", "+1234567890", " +1", "+1\n"])
def test_what_is_no_movement_is_refused(api: RunningApi, admin: httpx.Client, quantity: str) -> None:
    """A quantity without a sign, of nothing, or that the unit does not have is refused and leaves nothing."""
    sku = new_product(admin, on_hand="2")
    before = api.count_rows()
    answer = move(admin, sku, quantity)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["errors"][0]["pointer"] == "/quantity"
    assert move(admin, sku, "+1", reason="boredom").status_code == 400
    assert move(admin, f"no {sku}", "+1").status_code == 404
    assert api.count_rows() == before


def test_a_movement_needs_a_key_and_the_scope(api: RunningApi, admin: httpx.Client) -> None:
    """Without an Idempotency-Key it is 400, without the scope stock:write 403."""
    sku = new_product(admin)
    body = {"quantity": "+1", "reason": "found"}
    assert problem(admin.post(f"/v1/stock/{sku}/movements", json=body)) == (400, "idempotency-key-missing")
    with api.client("catalogue:write", "orders:write") as other:
        assert move(other, sku, "+1").status_code == 403


def test_a_sku_may_end_like_the_path_of_movements(admin: httpx.Client) -> None:
    """The stock of a SKU that ends in /movements is its own; movements of it have their path behind it."""
    sku = f"{uuid4()}/movements"
    assert admin.put("/v1/products", json={"products": [PRODUCT | {"sku": sku}]}).status_code == 200
    path = f"/v1/stock/{quote(sku, safe='')}"
    assert admin.get(path).json()["sku"] == sku
    assert move(admin, sku, "+1").json()["stock"]["sku"] == sku
    assert admin.get(f"{path}/movements").status_code == 405


def test_versions_go_on_beyond_32_bits(api: RunningApi, admin: httpx.Client) -> None:
    """A product and its stock whose versions reach 2^31 - 1 are sold, counted, moved and changed on, each time with a
    higher version, in answers as in the feed."""
    sku = new_product(admin, on_hand="100")
    last = 2**31 - 1
    with psycopg.connect(api.database.dsn("standfest_owner")) as connection:
        connection.execute("UPDATE product SET version = %s WHERE sku = %s", (last, sku))
        connection.execute("UPDATE stock SET version = %s FROM product WHERE id = product_id AND sku = %s", (last, sku))
    order = place(admin, sku)
    assert order.status_code == 201, order.text
    assert move(admin, sku, "-1").json()["stock"]["version"] == last + 2
    cancel = admin.post(f"{order.headers['Location']}/cancel", json={}, headers={"Idempotency-Key": str(uuid4())})
    assert cancel.status_code == 200
    counted = admin.put(f"/v1/stock/{sku}", json={"on_hand": "50"}, headers={"If-Match": f'"{last + 3}"'})
    assert (counted.status_code, counted.json()["version"]) == (200, last + 4)
    product = admin.get(f"/v1/products/{sku}").json()
    version = product.pop("version")
    changed = admin.put(
        f"/v1/products/{sku}", json=product | {"net_price": "9.99"}, headers={"If-Match": f'"{version}"'}
    )
    assert (version, changed.status_code, changed.json()["version"]) == (last, 200, last + 1)

    def told() -> list[int]:
        versions, after = [], None
        while True:
            page = admin.get("/v1/changes", params={"limit": 1_000} | ({"after": after} if after else {})).json()
            versions += [change["version"] for change in page["changes"] if change["subject"] == sku]
            if not page["changes"]:
                return versions
            after = page["next"]

    wait_until(lambda: told()[-3:] == [last + 2, last + 4, last + 1], "the feed has them", 10)
