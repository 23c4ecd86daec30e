"""The HTTP API's orders on a real database: placing, repeating, reading, finding, cancelling."""

from __future__ import annotations

import base64
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from standfest.domain.canonical import canonical_json
from tests.support.api import PRODUCT, RunningApi, order_body


def new_product(admin: httpx.Client, on_hand: str = "10", **more: object) -> str:
    """The SKU of a fresh product with stock."""
    sku = f"sku {uuid4()}"
    assert admin.put(f"/v1/products/{sku}", json={**PRODUCT, "sku": sku, **more}).status_code == 201
    assert admin.put(f"/v1/stock/{sku}", json={"on_hand": on_hand}).status_code == 200
    return sku


def place(
    client: httpx.Client, sku: str, quantity: str = "1", key: str | None = None, **more: object
) -> httpx.Response:
    """Places an order of one line."""
    headers = {"Idempotency-Key": key or str(uuid4())}
    return client.post("/v1/orders", json=order_body((sku, quantity), **more), headers=headers)


def test_a_placed_order_is_answered_whole_and_can_be_read(admin: httpx.Client) -> None:
    """Placing answers 201 with prices, tax, totals, a receipt and a Location that reads the same."""
    sku = new_product(admin)
    response = place(admin, sku, "3", note="bitte klingeln")
    assert response.status_code == 201, response.text
    order = response.json()
    assert response.headers["Location"] == f"/v1/orders/{order['id']}"
    assert order["status"] == "confirmed"
    assert order["totals"] == {
        "net": "7.65",
        "tax": [{"category": "S", "rate": "7.00", "base": "7.65", "amount": "0.54"}],
        "gross": "8.19",
    }
    assert order["lines"][0]["unit_price"] == "2.55"
    assert order["lines"][0]["reserved"] == "3"
    assert order["receipt"]["promise"] == "confirmed"
    assert order["receipt"]["order_id"] == order["id"]
    read = admin.get(response.headers["Location"])
    assert read.json() == order


def test_a_repeat_is_answered_alike_and_another_request_under_the_key_is_not(admin: httpx.Client) -> None:
    """The same key and body give the same order, bare or quoted; another body under it gives 422."""
    sku = new_product(admin)
    first = place(admin, sku, key="k-1")
    again = place(admin, sku, key='"k-1"')
    other = place(admin, sku, "2", key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert other.status_code == 422
    assert other.json()["type"].endswith("/idempotency-key-reused")
    assert other.json()["order_id"] == first.json()["id"]
    assert admin.get(f"/v1/stock/{sku}").json()["reserved"] == "1"


def test_a_repeat_of_what_is_not_sold_any_more_is_answered_as_before(admin: httpx.Client) -> None:
    """An order that was accepted is accepted for every repeat, even where its product is inactive by now."""
    sku = new_product(admin, stock_policy="untracked")
    first = place(admin, sku, key="inactive-1")
    product = admin.get(f"/v1/products/{sku}")
    body = {**product.json(), "active": False}
    del body["version"]
    changed = admin.put(f"/v1/products/{sku}", json=body, headers={"If-Match": product.headers["ETag"]})
    assert changed.status_code == 200, changed.text
    fresh = place(admin, sku)
    while fresh.status_code == 201:  # until the catalogue in memory knows; at most a second
        fresh = place(admin, sku)
    assert fresh.status_code == 422
    assert fresh.json()["errors"][0] | {"detail": ""} == {
        "pointer": "/lines/0/sku", "code": "inactive-sku", "detail": "",
    }  # fmt: skip
    again = place(admin, sku, key="inactive-1")
    assert again.status_code == 201
    assert again.json() == first.json()


def test_a_declined_order_is_recorded_and_says_what_is_there(admin: httpx.Client) -> None:
    """Too little stock gives 409 with the order's id, its receipt and what is available, again on a repeat."""
    sku = new_product(admin, on_hand="2")
    first, again = place(admin, sku, "5", key="d-1"), place(admin, sku, "5", key="d-1")
    assert first.status_code == again.status_code == 409
    problem = first.json()
    assert problem["type"].endswith("/out-of-stock")
    assert problem["lines"] == [{"position": 1, "sku": sku, "requested": "5", "available": "2"}]
    assert problem["receipt"]["promise"] == "declined"
    assert problem | {"request_id": ""} == again.json() | {"request_id": ""}
    assert admin.get(f"/v1/orders/{problem['order_id']}").json()["status"] == "declined"


def test_a_price_counts_only_with_the_scope_for_it(api: RunningApi, admin: httpx.Client) -> None:
    """A client's own unit price is used with orders:price and ignored without."""
    sku = new_product(admin)
    body = order_body((sku, "1"))
    body["lines"][0]["unit_price"] = "1.00"
    with api.client("orders:write") as plain, api.client("orders:write", "orders:price") as priced:
        nets = [
            client.post("/v1/orders", json=body, headers={"Idempotency-Key": "p"}).json()["totals"]["net"]
            for client in (plain, priced)
        ]
    assert nets == ["2.55", "1.00"]


def test_a_client_sees_only_its_own_orders(api: RunningApi, admin: httpx.Client) -> None:
    """Another client's order is 404 to read, list and cancel, unless a scope opens it."""
    sku = new_product(admin)
    with api.client("orders:write", "orders:read") as owner, api.client("orders:write", "orders:read") as other:
        order = place(owner, sku).json()
        path = f"/v1/orders/{order['id']}"
        assert owner.get(path).status_code == 200
        for suffix in ("", "/events", "/receipt"):
            assert other.get(path + suffix).status_code == 404
        assert other.post(f"{path}/cancel", json={}, headers={"Idempotency-Key": "c"}).status_code == 404
        assert [entry["id"] for entry in owner.get("/v1/orders").json()["orders"]] == [order["id"]]
        assert other.get("/v1/orders").json() == {"orders": [], "next": None}
    with api.client("orders:read-all") as desk:
        assert desk.get(path).status_code == 200
        assert desk.post(f"{path}/cancel", json={}, headers={"Idempotency-Key": "c"}).status_code == 403


def test_an_order_is_cancelled_by_lines_and_then_whole_and_each_command_counts_once(admin: httpx.Client) -> None:
    """Cancelling gives stock back once a key; the ETag moves with each version."""
    sku = new_product(admin)
    placed = place(admin, sku, "5")
    path = placed.headers["Location"]
    part = {"reason": "damaged", "lines": [{"position": 1, "quantity": "2"}]}
    headers = {"Idempotency-Key": str(uuid4()), "If-Match": placed.headers["ETag"]}
    first = admin.post(f"{path}/cancel", json=part, headers=headers)
    again = admin.post(f"{path}/cancel", json=part, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200), first.text
    assert first.json() == again.json()
    assert first.json()["lines"][0]["cancelled"] == "2"
    assert admin.get(f"/v1/stock/{sku}").json()["reserved"] == "3"
    stale = admin.post(f"{path}/cancel", json={}, headers={**headers, "Idempotency-Key": str(uuid4())})
    assert stale.status_code == 412
    whole = admin.post(f"{path}/cancel", json={}, headers={"Idempotency-Key": str(uuid4())})
    assert whole.json()["status"] == "cancelled"
    dead = admin.post(f"{path}/cancel", json={}, headers={"Idempotency-Key": str(uuid4())})
    assert (dead.status_code, dead.json()["type"].rsplit("/")[-1]) == (409, "conflict")
    events = admin.get(f"{path}/events").json()["events"]
    assert [event["type"] for event in events] == ["order.confirmed", "order.lines_cancelled", "order.cancelled"]
    assert events[1]["reason"] == "damaged"
    assert admin.get(f"/v1/stock/{sku}").json()["reserved"] == "0"
    repeat = admin.post(
        "/v1/orders", content=placed.request.content,
        headers={"Idempotency-Key": placed.request.headers["Idempotency-Key"], "Content-Type": "application/json"},
    )  # fmt: skip
    assert repeat.status_code == 201
    assert repeat.json()["status"] == "cancelled"
    assert repeat.json()["receipt"] == placed.json()["receipt"]


def test_a_receipt_is_signed_over_its_canonical_json(api: RunningApi, admin: httpx.Client) -> None:
    """Who has the public key can check a receipt without asking anybody."""
    placed = place(admin, new_product(admin))
    signed = admin.get(f"{placed.headers['Location']}/receipt").json()
    assert signed["receipt"] == placed.json()["receipt"]
    signer = api.services.signer
    public: Ed25519PublicKey = signer._key.public_key()
    public.verify(base64.b64decode(signed["signature"]), canonical_json(signed["receipt"]))


def test_an_order_that_is_known_is_not_sent_again(admin: httpx.Client) -> None:
    """If-None-Match with the order's strong ETag is answered 304 without a body."""
    placed = place(admin, new_product(admin))
    path, tag = placed.headers["Location"], placed.headers["ETag"]
    assert tag == '"1"'
    known = admin.get(path, headers={"If-None-Match": tag})
    assert (known.status_code, known.content, known.headers["ETag"]) == (304, b"", tag)
    assert admin.get(path, headers={"If-None-Match": '"7"'}).status_code == 200


def test_lists_go_by_pages_that_are_linked(api: RunningApi, admin: httpx.Client) -> None:
    """Following rel=next visits every order of the filter once, the newest first."""
    sku = new_product(admin, on_hand="100")
    with api.client("orders:write", "orders:read") as client:
        ids = [place(client, sku, external_reference="X", customer={"name": "B", "reference": "C1"}).json()["id"]
               for _ in range(5)]  # fmt: skip
        number = client.get(f"/v1/orders/{ids[0]}").json()["number"]
        seen, url = [], "/v1/orders?limit=2&customer=C1&external_reference=X&status=confirmed"
        while url:
            page = client.get(url)
            seen += [order["id"] for order in page.json()["orders"]]
            url = page.links["next"]["url"] if "next" in page.links else ""
        assert seen == ids[::-1]
        assert [
            order["id"] for order in client.get("/v1/orders", params={"number": number.lower()}).json()["orders"]
        ] == ids[:1]
        assert client.get("/v1/orders?number=nonsense").json()["orders"] == []
