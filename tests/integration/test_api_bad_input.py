"""Every kind of bad input gets a problem document that points at the fault, and leaves nothing in the data."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.api import PRODUCT, RunningApi, order_body, running_api
from tests.support.postgres import PostgresCluster

JSON = "application/json"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def api(postgres: PostgresCluster) -> Iterator[RunningApi]:
    """An API on a database of this module, with two products that are in stock and one that is not sold."""
    database = postgres.create_database()
    with running_api(database) as running:
        with running.client() as admin:
            products = [
                PRODUCT,
                {**PRODUCT, "sku": "rope", "unit": "metre", "unit_decimals": 2},
                {**PRODUCT, "sku": "gone", "active": False},
            ]
            assert admin.put("/v1/products", json={"products": products}).json() == {"changed": 3, "unchanged": 0}
            stock = [{"sku": product["sku"], "on_hand": "1000"} for product in products]
            assert admin.put("/v1/stock", json={"stock": stock}).json() == {"changed": 3, "unchanged": 0}
        yield running
    database.drop()


@pytest.fixture(scope="module")
def admin(api: RunningApi) -> Iterator[httpx.Client]:
    """A client that may do everything."""
    with api.client() as client:
        yield client


@pytest.fixture
def nothing_stored(api: RunningApi) -> Iterator[None]:
    """The data is after the test as it was before."""
    before = api.count_rows()
    yield
    assert api.count_rows() == before


def post(admin: httpx.Client, content: Any, **headers: str) -> httpx.Response:
    """Sends bytes, or JSON, as an order."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    key = str(uuid4())
    return admin.post("/v1/orders", content=raw, headers={"Content-Type": JSON, "Idempotency-Key": key, **headers})


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """A good order's body with something wrong in it."""
    body = copy.deepcopy(order_body(("apple", "1"), ("rope", "1.25")))
    change(body)
    return body


def line(**members: object) -> dict[str, Any]:
    """A good order's body with other members in its second line."""
    return changed(lambda body: body["lines"][1].update(members))


def customer(**members: object) -> dict[str, Any]:
    """A good order's body with other members in its customer."""
    return changed(lambda body: body["customer"].update(members))


def ship_to(**members: object) -> dict[str, Any]:
    """A good order's body with other members in its address."""
    return changed(lambda body: body["ship_to"].update(members))


FAULTS: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("unknown SKU", line(sku="nope"), 422, "/lines/1/sku", "unknown-sku"),
    ("inactive SKU", line(sku="gone"), 422, "/lines/1/sku", "inactive-sku"),
    ("quantity zero", line(quantity="0"), 422, "/lines/1/quantity", "zero-quantity"),
    ("quantity zero with decimals", line(quantity="0.00"), 422, "/lines/1/quantity", "zero-quantity"),
    ("negative quantity", line(quantity="-1"), 400, "/lines/1/quantity", "wrong-form"),
    ("more decimals than the unit", line(quantity="1.001"), 422, "/lines/1/quantity", "too-many-decimals"),
    ("absurd quantity", line(quantity="1000000000000"), 400, "/lines/1/quantity", "wrong-form"),
    ("exponent", line(quantity="1e3"), 400, "/lines/1/quantity", "wrong-form"),
    ("other digits", line(quantity="\N{ARABIC-INDIC DIGIT ONE}"), 400, "/lines/1/quantity", "wrong-form"),
    ("line feed at the end", line(quantity="1\n"), 400, "/lines/1/quantity", "wrong-form"),
    ("number instead of a string", line(quantity=1), 400, "/lines/1/quantity", "wrong-type"),
    ("null instead of a string", line(quantity=None), 400, "/lines/1/quantity", "wrong-type"),
    ("negative price", line(unit_price="-1"), 400, "/lines/1/unit_price", "wrong-form"),
    ("too many lines", changed(lambda body: body.update(lines=body["lines"] * 1001)), 400, "/lines", "wrong-length"),
    ("no line", changed(lambda body: body.update(lines=[])), 400, "/lines", "wrong-length"),
    ("lines missing", changed(lambda body: body.pop("lines")), 400, "/lines", "missing"),
    ("NUL", customer(name="A\0da"), 400, "/customer/name", "wrong-form"),
    ("control character", ship_to(city="Ber\x1blin"), 400, "/ship_to/city", "wrong-form"),
    ("C1 control character", ship_to(city="Ber\x85lin"), 400, "/ship_to/city", "wrong-form"),
    ("empty name", customer(name=""), 400, "/customer/name", "wrong-length"),
    ("long name", customer(name="x" * 101), 400, "/customer/name", "wrong-length"),
    ("unknown field", line(colour="red"), 400, "/lines/1/colour", "unknown-field"),
    ("unknown field with a slash", customer(**{"a/b~c": 1}), 400, "/customer/a~1b~0c", "unknown-field"),
    ("unknown currency", changed(lambda body: body.update(currency="XXX")), 422, "/currency", "unsupported-currency"),
    ("currency in small letters", changed(lambda body: body.update(currency="eur")), 400, "/currency", "wrong-form"),
    ("unknown country", ship_to(country="ZZ"), 422, "/ship_to/country", "unknown-country"),
    ("country's name", ship_to(country="Germany"), 400, "/ship_to/country", "wrong-form"),
    ("bad VAT id", customer(vat_id="DE136695977"), 422, "/customer/vat_id", "invalid-vat-id"),
    ("no VAT id at all", customer(vat_id="????"), 422, "/customer/vat_id", "invalid-vat-id"),
    ("bad e-mail address", customer(email="ada"), 400, "/customer/email", "wrong-form"),
    ("no day", changed(lambda body: body.update(requested_delivery="2026-02-30")), 400, "/requested_delivery",
     "wrong-value"),
    ("array for an object", changed(lambda body: body.update(customer=[])), 400, "/customer", "wrong-type"),
]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(("body", "status", "pointer", "code"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_in_a_field_is_pointed_at(
    admin: httpx.Client, body: dict[str, Any], status: int, pointer: str, code: str
) -> None:
    """The problem has the status, the fault's JSON Pointer and a stable code."""
    response = post(admin, body)
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"].endswith("/invalid-request" if status == 400 else "/invalid-content")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [(pointer, code)]


GOOD = json.dumps(order_body(("apple", "1"))).encode()
DOCUMENTS: list[tuple[str, bytes, int, str | None]] = [
    ("nothing", b"", 400, "malformed-json"),
    ("half of it", GOOD[:50], 400, "malformed-json"),
    ("something behind it", GOOD + b"{}", 400, "malformed-json"),
    ("single quotes", b"{'a': 1}", 400, "malformed-json"),
    ("not an object", b"[]", 400, "wrong-type"),
    ("NaN", b'{"a": NaN}', 400, "malformed-json"),
    ("Infinity", b'{"a": -Infinity}', 400, "malformed-json"),
    ("a number beyond a double", b'{"a": 1e999}', 400, "number-out-of-range"),
    ("a very long number", b'{"a": ' + b"9" * 10_000 + b"}", 400, "number-out-of-range"),
    ("a member twice", GOOD.replace(b'"EUR"', b'"EUR", "currency": "EUR"'), 400, "duplicate-member"),
    ("nested without end", b"[" * 20_000, 400, "too-deep"),
    ("more values than any order has", b"[" * 500_000, 400, "too-many-values"),
    ("nested too deep", b'{"a":' * 40 + b"1" + b"}" * 40, 400, "too-deep"),
    ("a raw control character", GOOD.replace(b"Ada", b"A\0a"), 400, "malformed-json"),
    ("a lone surrogate", GOOD.replace(b"Ada", b"A\\ud800a"), 400, "lone-surrogate"),
    ("an encoded surrogate", GOOD.replace(b"Ada", b"A\xed\xa0\x80a"), 400, "wrong-encoding"),
    ("an overlong encoding", GOOD.replace(b"Ada", b"A\xc0\x80a"), 400, "wrong-encoding"),
    ("Latin-1", GOOD.replace(b"Ada", "Jürgen".encode("latin-1")), 400, "wrong-encoding"),
    ("UTF-16", GOOD.decode().encode("utf-16"), 400, "wrong-encoding"),
    ("UTF-8 with a byte order mark", b"\xef\xbb\xbf" + GOOD, 400, "malformed-json"),
    ("more than a MiB", GOOD + b" " * MIB, 413, None),
]


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(("raw", "status", "code"), [d[1:] for d in DOCUMENTS], ids=[d[0] for d in DOCUMENTS])
def test_a_body_that_is_not_one_clear_json_document_is_refused(
    admin: httpx.Client, raw: bytes, status: int, code: str | None
) -> None:
    """Broken JSON, wrong encodings and bodies beyond the bounds are 400 or 413, never 500."""
    response = post(admin, raw)
    assert response.status_code == status, response.text
    assert [error["code"] for error in response.json().get("errors", [])] == ([code] if code else [])


def test_a_body_of_exactly_a_mib_is_read(admin: httpx.Client) -> None:
    """The bound is on what is more."""
    assert post(admin, GOOD + b" " * (MIB - len(GOOD))).status_code == 201


@pytest.mark.usefixtures("nothing_stored")
def test_a_chunked_body_is_cut_off_at_the_bound(api: RunningApi) -> None:
    """A body without Content-Length is answered 413 at the bound; who sends on is cut off."""
    key = api.key()
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"POST /v1/orders HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: x\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        connection.sendall(chunk * 17)
        answer = b""
        while b"payload-too-large" not in answer:
            answer += connection.recv(65_536)
        with pytest.raises(ConnectionError):
            connection.sendall(chunk * 1_000)  # more than 64 MiB
    assert answer.startswith(b"HTTP/1.1 413 ")


HEADERS: list[tuple[str, dict[str, str], int, str]] = [
    ("other media type", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
    ("other charset", {"Content-Type": f"{JSON}; charset=latin-1"}, 415, "unsupported-media-type"),
    ("a form", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
    ("compressed", {"Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
    ("empty key", {"Idempotency-Key": ""}, 400, "idempotency-key-missing"),
    ("long key", {"Idempotency-Key": "x" * 256}, 400, "idempotency-key-invalid"),
    ("key with a space", {"Idempotency-Key": "a b"}, 400, "idempotency-key-invalid"),
    ("half a quoted key", {"Idempotency-Key": '"a'}, 400, "idempotency-key-invalid"),
    ("empty quoted key", {"Idempotency-Key": '""'}, 400, "idempotency-key-invalid"),
    ("no Bearer", {"Authorization": "Basic YTpi"}, 401, "unauthenticated"),
    ("no key", {"Authorization": "Bearer"}, 401, "unauthenticated"),
    ("malformed key", {"Authorization": "Bearer a b"}, 401, "unauthenticated"),
    ("very long key", {"Authorization": "Bearer " + "x" * 5000}, 401, "unauthenticated"),
    ("unknown key", {"Authorization": "Bearer sf_abc_def"}, 401, "unauthenticated"),
]


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(("headers", "status", "slug"), [h[1:] for h in HEADERS], ids=[h[0] for h in HEADERS])
def test_a_header_that_does_not_fit_is_refused(
    admin: httpx.Client, headers: dict[str, str], status: int, slug: str
) -> None:
    """Media type, idempotency key and credentials are checked before anything is stored."""
    response = post(admin, GOOD, **headers)
    assert response.status_code == status, response.text
    assert response.json()["type"].endswith(f"/{slug}")
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


@pytest.mark.usefixtures("nothing_stored")
def test_headers_that_must_be_single_are(api: RunningApi, admin: httpx.Client) -> None:
    """Two keys or no key, two credentials or none, are refused."""
    credentials = admin.headers["Authorization"]
    base = [("Content-Type", JSON), ("Authorization", credentials)]
    with httpx.Client(base_url=api.url) as bare:

        def slug(*headers: tuple[str, str]) -> str:
            answer: dict[str, Any] = bare.post("/v1/orders", content=GOOD, headers=headers).json()
            return str(answer["type"]).rsplit("/")[-1]

        assert slug(*base) == "idempotency-key-missing"
        assert slug(*base, ("Idempotency-Key", "a"), ("Idempotency-Key", "a")) == "idempotency-key-invalid"
        assert slug(("Idempotency-Key", "a"), base[0]) == "unauthenticated"
        assert slug(("Idempotency-Key", "a"), *base, ("Authorization", credentials)) == "unauthenticated"


@pytest.mark.usefixtures("nothing_stored")
def test_a_scope_that_is_missing_is_named(api: RunningApi) -> None:
    """A key that is good for something else gets 403, whatever it sends."""
    with api.client("orders:read") as reader:
        response = post(reader, b"{")
    assert response.status_code == 403
    assert "orders:write" in response.json()["detail"]


PATHS: list[tuple[str, str, int]] = [
    ("GET", "/v1/nothing", 404),
    ("GET", "/v1/orders/not-a-uuid", 404),
    ("GET", "/v1/orders/00000000-0000-4000-8000-000000000000", 404),
    ("GET", "/v1/products/nope", 404),
    ("GET", "/v1/products/%00", 400),
    ("GET", "/v1/products/%ff", 400),
    ("GET", "/v1/products/a%0Ab", 400),
    ("GET", "/v1/orders%0A", 404),
    ("GET", "/livez%0A", 404),
    ("GET", "/v1/stock/a/b", 404),
    ("DELETE", "/v1/orders", 405),
    ("PATCH", "/v1/products/apple", 405),
    ("GET", "/v1/orders?limit=0", 400),
    ("GET", "/v1/orders?limit=1e2", 400),
    ("GET", "/v1/orders?limit=1&limit=2", 400),
    ("GET", "/v1/orders?colour=red", 400),
    ("GET", "/v1/orders?status=lost", 400),
    ("GET", "/v1/orders?customer=%ff", 400),
    ("GET", "/v1/orders?customer=%00", 400),
    ("GET", "/v1/orders?customer=", 400),
    ("GET", "/v1/orders?cursor=AAAA", 422),
    ("GET", "/v1/products?cursor=MQ0", 422),
    ("GET", "/v1/changes?after=!", 422),
]


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(("method", "path", "status"), PATHS)
def test_a_path_or_query_that_does_not_fit_is_refused(admin: httpx.Client, method: str, path: str, status: int) -> None:
    """Unknown paths, methods, parameters and cursors get their problem; 405 says what is allowed."""
    response = admin.request(method, path)
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert ("Allow" in response.headers) == (status == 405)


@pytest.mark.parametrize("path", ["//v1/orders", "/v1//orders/", "/v1/orders//", "/%2Fv1/orders"])
def test_slashes_too_many_change_nothing(admin: httpx.Client, path: str) -> None:
    """A path leads where it leads with one slash at a time and none at its end."""
    assert admin.get(f"{admin.base_url}".rstrip("/") + path).json() == admin.get("/v1/orders").json()


@pytest.mark.usefixtures("nothing_stored")
def test_many_products_are_put_all_or_none(admin: httpx.Client) -> None:
    """One fault in the middle points there, and none of the others is stored."""
    good, bad = {**PRODUCT, "sku": "new 1"}, {**PRODUCT, "sku": "new 2", "net_price": "-1"}
    response = admin.put("/v1/products", json={"products": [good, bad]})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, "/products/1/net_price")
    response = admin.put("/v1/products", json={"products": [good, {**PRODUCT, "sku": "rope"}]})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/products/1/unit_decimals")
    response = admin.put("/v1/stock", json={"stock": [{"sku": "apple", "on_hand": "1"}, {"sku": "x", "on_hand": "1"}]})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/stock/1/sku")


@pytest.mark.usefixtures("nothing_stored")
def test_a_change_on_a_condition_that_does_not_hold_changes_nothing(admin: httpx.Client) -> None:
    """Changing a product needs If-Match: 428 without, 412 with another version."""
    assert admin.put("/v1/products/apple", json=PRODUCT).status_code == 428
    for tag in ('"99"', 'W/"1"'):
        headers = {"If-Match": tag}
        assert admin.put("/v1/products/apple", json=PRODUCT, headers=headers).status_code == 412
        assert admin.put("/v1/stock/apple", json={"on_hand": "5"}, headers=headers).status_code == 412
    fresh = {**PRODUCT, "sku": "fresh"}
    assert admin.put("/v1/products/fresh", json=fresh, headers={"If-Match": "*"}).status_code == 412
    other = admin.put("/v1/products/fresh", json=PRODUCT)
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/sku")


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 40_000, 431),
    ],
)
def test_what_is_not_http_gets_a_problem_and_the_connection_ends(api: RunningApi, raw: bytes, status: int) -> None:
    """TLS to the plain port, broken headers and headers without end are refused on the wire."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(raw)
        answer = b""
        while received := connection.recv(65_536):
            answer += received
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == status
