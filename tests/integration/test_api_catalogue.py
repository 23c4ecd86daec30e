"""The HTTP API's products, stock and feed of changes on a real database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.integration.test_api_orders import new_product, place
from tests.support.api import PRODUCT, RunningApi
from tests.support.waiting import wait_until


def test_a_product_is_created_read_and_changed_by_version(admin: httpx.Client) -> None:
    """Creating is 201, changing needs the ETag that was read, and an equal product keeps its version."""
    body = {**PRODUCT, "sku": "pear", "net_price": "1.2345"}
    created = admin.put("/v1/products/pear", json=body)
    assert (created.status_code, created.headers["ETag"]) == (201, '"1"')
    assert created.json() == {**body, "version": 1}
    same = admin.put("/v1/products/pear", json=body, headers={"If-Match": '"1"'})
    assert (same.status_code, same.headers["ETag"]) == (200, '"1"')
    changed = admin.put("/v1/products/pear", json={**body, "net_price": "2"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert admin.get("/v1/products/pear").json() == {**body, "net_price": "2.00", "version": 2}
    assert admin.get("/v1/products/pear", headers={"If-None-Match": '"2"'}).status_code == 304


@pytest.mark.parametrize("sku", ["a/b", "Ä ö", "100%", "a?b#c", "漢字", ".hidden", "x" * 64])
def test_any_printable_sku_can_be_named_in_a_path(admin: httpx.Client, sku: str) -> None:
    """A SKU that is percent-encoded is read back as it is, and its stock too."""
    path = quote(sku, safe="")
    assert admin.put(f"/v1/products/{path}", json={**PRODUCT, "sku": sku}).status_code == 201
    assert admin.get(f"/v1/products/{path}").json()["sku"] == sku
    assert admin.put(f"/v1/stock/{path}", json={"on_hand": "7"}).json()["on_hand"] == "7"
    assert place(admin, sku).status_code == 201
    assert admin.get(f"/v1/stock/{path}").json()["available"] == "6"


def test_many_are_put_at_once_and_again_without_a_change(admin: httpx.Client) -> None:
    """A thousand products and counts are one request each; the same again changes nothing."""
    products = [{**PRODUCT, "sku": f"many {number}"} for number in range(1_000)]
    counts = [{"sku": product["sku"], "on_hand": "5"} for product in products]
    assert admin.put("/v1/products", json={"products": products}).json() == {"changed": 1000, "unchanged": 0}
    assert admin.put("/v1/products", json={"products": products}).json() == {"changed": 0, "unchanged": 1000}
    assert admin.put("/v1/stock", json={"stock": counts}).json() == {"changed": 1000, "unchanged": 0}
    assert admin.put("/v1/stock", json={"stock": counts}).json() == {"changed": 0, "unchanged": 1000}
    seen: list[str] = []
    url = "/v1/products?limit=300"
    while url:
        page = admin.get(url)
        seen += [product["sku"] for product in page.json()["products"]]
        url = page.links["next"]["url"] if "next" in page.links else ""
    assert len(seen) == len(set(seen))
    assert {product["sku"] for product in products} <= set(seen)


def test_of_two_changes_on_one_version_one_wins(admin: httpx.Client) -> None:
    """Ten clients that read the same version and change it differently: one gets 200, nine 412."""
    sku = new_product(admin)
    versions = admin.get(f"/v1/products/{sku}").headers["ETag"], admin.get(f"/v1/stock/{sku}").headers["ETag"]

    def change(number: int) -> tuple[int, int]:
        product = {**PRODUCT, "sku": sku, "net_price": f"{number}.00"}
        first = admin.put(f"/v1/products/{sku}", json=product, headers={"If-Match": versions[0]})
        second = admin.put(f"/v1/stock/{sku}", json={"on_hand": f"{50 + number}"}, headers={"If-Match": versions[1]})
        return first.status_code, second.status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(change, range(1, 11)))
    assert sorted(first for first, _ in statuses) == [200] + [412] * 9
    assert sorted(second for _, second in statuses) == [200] + [412] * 9


def test_what_is_new_can_be_used_at_once(api: RunningApi) -> None:
    """A key and a product that were just made are not refused because the catalogue in memory is older."""
    for _ in range(3):
        with api.client() as fresh:
            sku = f"new {uuid4()}"
            product = {**PRODUCT, "sku": sku, "stock_policy": "untracked"}
            assert fresh.put("/v1/products", json={"products": [product]}).status_code == 200
            assert place(fresh, sku).status_code == 201


def test_a_backordered_order_says_what_it_waits_for(admin: httpx.Client) -> None:
    """What a product's policy lets wait is accepted with 201 in state backordered."""
    sku = new_product(admin, on_hand="2", stock_policy="backorder")
    order = place(admin, sku, "5").json()
    assert (order["status"], order["receipt"]["promise"]) == ("backordered", "backordered")
    assert (order["lines"][0]["reserved"], order["lines"][0]["backordered"]) == ("2", "3")


def test_the_feed_shows_every_change_once_and_nobody_elses_orders(api: RunningApi, admin: httpx.Client) -> None:
    """Reading on from `next` gives each change once, in order; a client sees its own orders and the catalogue."""
    start: str | None = None
    while (page := _read(admin, start, limit=1_000))[0]:
        start = page[1]
    sku = new_product(admin)
    with api.client("orders:write", "changes:read") as owner, api.client("changes:read") as other:
        order = place(owner, sku).json()
        expected = [("product.changed", sku), ("stock.changed", sku), ("order.confirmed", order["id"])]
        # A change shows once no older transaction runs any more, in whatever database of the cluster.
        wait_until(lambda: len(_read(admin, start, limit=10)[0]) == len(expected), "the feed to show the order", 10)
        everything, end = _read(admin, start, limit=10)
        assert [(change["type"], change["subject"]) for change in everything] == expected
        assert _read(owner, start, limit=10)[0] == everything
        assert _read(other, start, limit=10)[0] == everything[:2]
    first, middle = _read(admin, start, limit=2)
    assert first + _read(admin, middle, limit=2)[0] == everything
    assert _read(admin, everything[1]["cursor"], limit=10)[0] == everything[2:]
    assert _read(admin, end, limit=10) == ([], end)


def _read(client: httpx.Client, after: str | None, limit: int) -> tuple[list[dict[str, Any]], str]:
    """The changes behind `after`, and where to go on."""
    page = client.get("/v1/changes", params={"limit": limit, **({"after": after} if after else {})})
    assert page.status_code == 200, page.text
    return page.json()["changes"], page.json()["next"]
