"""Orders of a file as traffic of a run."""

import hashlib
from datetime import datetime
from decimal import Decimal

from standfest.emergency.drills.file_orders import FileOrders
from standfest.emergency.drills.replay.plan import PlannedLine, PlannedOrder


def planned(invoice: str, *lines: PlannedLine) -> PlannedOrder:
    """One invoice of the file."""
    return PlannedOrder(invoice, f"replay:{invoice}", datetime(2011, 1, 4, 10, 0), "17850", "France", lines)  # noqa: DTZ001


FIRST = planned("536365", PlannedLine(1, "A", 6, Decimal("2.55")), PlannedLine(2, "B", 1, Decimal("3.39")))
SECOND = planned("536366", PlannedLine(3, "A", 2, Decimal("2.10")))
LONG = planned("536367", PlannedLine(4, "X" * 64, 1, Decimal(1)))


def test_an_invoice_becomes_an_order_of_the_run() -> None:
    """Lines and prices are the file's; key, nonce and SKUs are the run's own."""
    order = FileOrders([FIRST, SECOND], run="r1").order(0)
    assert order.key == "r1-0"
    assert order.body["external_reference"] == order.nonce
    assert order.body["customer"] == {"reference": "17850", "name": "Customer 17850"}
    assert order.content() == {
        "parties": {"customer": order.body["customer"], "ship_to": order.body["ship_to"]},
        "currency": "EUR",
        "lines": [["DEMO-r1-A", "6", "2.55"], ["DEMO-r1-B", "1", "3.39"]],
    }
    assert order.payload_sha256 == hashlib.sha256(order.payload).hexdigest()


def test_the_file_comes_round_again() -> None:
    """After the last invoice the first one is sent again, as another order."""
    orders = FileOrders([FIRST, SECOND], run="r1")
    first, again = orders.order(0), orders.order(2)
    assert again.content() == first.content()
    assert (again.key, again.nonce) != (first.key, first.nonce)


def test_products_cover_the_orders() -> None:
    """Every SKU that is ordered is a product, also where the run's name makes it too long for a SKU."""
    orders = FileOrders([FIRST, SECOND, LONG], run="r1")
    known = {product.sku for product in orders.products}
    ordered = {line["sku"] for number in range(3) for line in orders.order(number).body["lines"]}
    assert ordered == known
    assert all(len(sku) <= 64 for sku in known)
