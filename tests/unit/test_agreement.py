"""From a request to an order: what is found wrong, and what is agreed."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.agreement import Merchant, Submission, agree
from standfest.domain.faults import Invalid
from standfest.domain.orders import Agreed, Order
from standfest.domain.products import Product
from standfest.domain.request import MAX_LINES, OrderRequest

BODY: dict[str, Any] = {
    "customer": {"name": "Ada", "reference": "C-1"},
    "ship_to": {"name": "Ada", "street": "Weg 1", "postal_code": "10115", "city": "Berlin", "country": "DE"},
    "currency": "EUR",
    "lines": [{"sku": "pear", "quantity": "1.5"}, {"sku": "box", "quantity": "3", "note": "red"}],
}
PRODUCTS = {
    "pear": Product(1, "pear", "Birne", "Pear", "kg", 3, Decimal("2.5500"), "reduced", True, "tracked", 1),
    "box": Product(2, "box", "Kiste", "Box", "piece", 0, Decimal("10.0000"), "standard", True, "backorder", 1),
    "old": Product(3, "old", "Alt", "Old", "piece", 0, Decimal("1.0000"), "standard", False, "tracked", 1),
    "dear": Product(4, "dear", "Teuer", "Dear", "piece", 0, Decimal("999999999"), "standard", True, "untracked", 1),
}


def changed(**values: Any) -> dict[str, Any]:
    """The body with other members."""
    return BODY | values


def agreed(body: dict[str, Any], may_price: bool = False, key: str = "k") -> Order:
    """What is agreed on a body, in a shop in Germany."""
    received_at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    request = msgspec.convert(body, OrderRequest)
    return agree(Submission(UUID(int=1), key, body, request, may_price, received_at), PRODUCTS, Merchant("DE", "EUR"))


def lines(*pairs: tuple[str, str]) -> dict[str, Any]:
    """The body with (SKU, quantity) lines."""
    return changed(lines=[{"sku": sku, "quantity": quantity} for sku, quantity in pairs])


def test_an_order_is_priced_and_taxed() -> None:
    """Prices come from the catalogue, tax from country and class, totals from both."""
    order = agreed(BODY)
    assert [(line.quantity, line.unit_price, line.net, line.tax_rate) for line in order.lines] == [
        (1500, Decimal("2.55"), Decimal("3.83"), Decimal(7)),
        (3, Decimal(10), Decimal("30.00"), Decimal(19)),
    ]
    assert (order.totals.net, order.totals.gross) == (Decimal("33.83"), Decimal("39.80"))
    assert (order.status, order.version, order.lines[1].note) == ("received", 1, "red")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        (lines(("nothing", "1")), "/lines/0/sku", "unknown-sku"),
        (lines(("pear", "1"), ("old", "1")), "/lines/1/sku", "inactive-sku"),
        (lines(("box", "0")), "/lines/0/quantity", "zero-quantity"),
        (lines(("pear", "0.000")), "/lines/0/quantity", "zero-quantity"),
        (lines(("box", "1.5")), "/lines/0/quantity", "too-many-decimals"),
        (lines(("pear", "0.0001")), "/lines/0/quantity", "too-many-decimals"),
        (lines(("dear", "999")), "/lines", "total-too-large"),
        (changed(currency="USD"), "/currency", "unsupported-currency"),
        (changed(ship_to=BODY["ship_to"] | {"country": "XX"}), "/ship_to/country", "unknown-country"),
        (changed(bill_to=BODY["ship_to"] | {"country": "UK"}), "/bill_to/country", "unknown-country"),
        (changed(customer={"name": "Ada", "vat_id": "DE123456789"}), "/customer/vat_id", "invalid-vat-id"),
    ],
)
def test_what_cannot_be_agreed_is_pointed_at(body: dict[str, Any], pointer: str, code: str) -> None:
    """Each fault has the pointer to its field and a stable code."""
    with pytest.raises(Invalid) as refused:
        agreed(body)
    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [(pointer, code)]


def test_all_faults_are_found_at_once() -> None:
    """A client can mend everything before it sends again."""
    body = lines(("nothing", "1"), ("box", "1.5")) | {"currency": "USD"}
    with pytest.raises(Invalid) as refused:
        agreed(body)
    assert [fault.pointer for fault in refused.value.faults] == ["/currency", "/lines/0/sku", "/lines/1/quantity"]


@pytest.mark.parametrize(
    "body",
    [
        lines(("box", "-1")),
        lines(("box", "1000000000000")),
        lines(("box", "1e3")),
        lines(("box", "１")),  # noqa: RUF001 - a digit, though not an ASCII one
        lines(("box", "1\n")),
        lines(("", "1")),
        lines(("b\x00x", "1")),
        lines(),
        lines(*[("box", "1")] * (MAX_LINES + 1)),
        changed(note="a\x07b"),
        changed(note="a\x85b"),
        changed(currency="eur"),
        changed(customer={}),
        changed(extra=1),
        changed(customer={"name": "Ada", "email": "no address"}),
        changed(lines=[{"sku": "box", "quantity": 1}]),
        changed(requested_delivery="tomorrow"),
    ],
)
def test_a_body_of_another_shape_is_no_request(body: dict[str, Any]) -> None:
    """Signs, exponents, control characters, unknown or missing members, numbers for strings, too much of anything."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, OrderRequest)


def test_a_clients_own_price_counts_only_where_it_may_price() -> None:
    """Without the scope the catalogue's price is taken, and the request is still the same request."""
    body = changed(lines=[{"sku": "box", "quantity": "2", "unit_price": "0.0150"}])
    assert agreed(body).totals.net == Decimal("20.00")
    assert agreed(body, may_price=True).totals.net == Decimal("0.03")
    assert agreed(body).order_id == agreed(body, may_price=True).order_id


@pytest.mark.parametrize(
    ("vat_id", "country", "category"),
    [
        (None, "AT", "S"),
        ("ATU13585627", "AT", "K"),
        ("DE136695976", "AT", "S"),
        ("ATU13585627", "DE", "S"),
        ("EL094259216", "GR", "K"),
        ("ATU13585627", "CH", "G"),
    ],
)
def test_a_business_elsewhere_in_the_eu_pays_no_tax_here(vat_id: str | None, country: str, category: str) -> None:
    """A VAT id of another member state makes a delivery there an intra-community supply; one of ours does not."""
    customer = {"name": "Ada"} | ({"vat_id": vat_id} if vat_id else {})
    order = agreed(changed(customer=customer, ship_to=BODY["ship_to"] | {"country": country}))
    assert {line.tax_category for line in order.lines} == {category}


@given(st.permutations(list(BODY)), st.text(min_size=1, max_size=5))
def test_the_same_body_is_the_same_order(names: list[str], key: str) -> None:
    """The order of members does not matter; another key makes another order of the same content."""
    one, other = agreed(BODY), agreed({name: BODY[name] for name in names})
    assert (one.order_id, one.request_hash, one.content_hash) == (
        other.order_id,
        other.request_hash,
        other.content_hash,
    )
    if key.isascii() and key != "k":
        assert agreed(BODY, key=key).order_id != one.order_id
        assert agreed(BODY, key=key).content_hash == one.content_hash


@pytest.mark.parametrize(
    "body",
    [
        changed(note="leave it at the door"),
        changed(customer={"name": "Ada"}),
        changed(bill_to=BODY["ship_to"]),
        changed(requested_delivery="2026-03-01"),
        lines(("pear", "1.5"), ("box", "3")),
        lines(("pear", "1.501"), ("box", "3")),
    ],
)
def test_the_content_hash_covers_all_that_is_agreed(body: dict[str, Any]) -> None:
    """Parties, delivery, notes, lines: another agreement has another content hash."""
    assert agreed(body).content_hash != agreed(BODY).content_hash


@pytest.mark.parametrize("vat_id", ["EU372022452", "IM3720000224", "DE136695977", "GB999999973", "XX12"])
def test_what_is_no_vat_id_is_refused(vat_id: str) -> None:
    """A one-stop shop's number, a wrong check digit and a country outside the EU make nobody a business."""
    with pytest.raises(Invalid) as refused:
        agreed(changed(customer={"name": "Ada", "vat_id": vat_id}))
    assert [fault.pointer for fault in refused.value.faults] == ["/customer/vat_id"]


def test_what_a_later_release_stores_is_read() -> None:
    """A member that this release does not know is passed over when a stored order is read."""
    stored = b'{"customer": {"name": "Ada", "phone": "1"}, "ship_to": {"name": "Ada", "street": "Weg 1",'
    stored += b' "postal_code": "1", "city": "B", "country": "DE", "floor": "2"}, "gift": true}'
    assert msgspec.json.decode(stored, type=Agreed).customer.name == "Ada"
