"""Products and orders for the tests of the order plane."""

from __future__ import annotations

import datetime
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg

from standfest.domain.agreement import Merchant, Submission, agree
from standfest.domain.orders import Order
from standfest.domain.products import Product, StockPolicy
from standfest.domain.request import AddressRequest, CustomerRequest, LineRequest, OrderRequest
from standfest.intake.direct import Placement, place
from standfest.storage.connection import DatabaseSettings, Host
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from tests.support.postgres import TestDatabase

CLIENT = uuid4()
MERCHANT = Merchant("DE", "EUR")
HOME = AddressRequest("Ada", "Weg 1", "10115", "Berlin", "DE")


def pool_of(database: TestDatabase, connections_max: int = 40, lock_timeout_ms: int = 2_000) -> Database:
    """A pool of the order plane's role; close it."""
    return Database(
        DatabaseSettings(
            (Host(database.host, database.port),),
            database.name,
            "standfest_app",
            database.password_file("standfest_app").read_text().strip(),
            connections_max=connections_max,
            lock_timeout_ms=lock_timeout_ms,
        )
    )


def stock_product(database: TestDatabase, sku: str, on_hand: int, policy: StockPolicy = "tracked") -> Product:
    """A product with stock, written behind the order plane's back."""
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        row = connection.execute(
            "INSERT INTO product (sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active,"
            " stock_policy) VALUES (%s, 'x', 'x', 'piece', 0, 10, 'standard', true, %s) RETURNING id",
            (sku, policy),
        ).fetchone()
        assert row is not None
        connection.execute("INSERT INTO stock (product_id, on_hand) VALUES (%s, %s)", (row[0], on_hand))
    return Product(row[0], sku, "x", "x", "piece", 0, Decimal(10), "standard", True, policy, 1)


def order(key: str, *lines: tuple[Product, int], client: UUID = CLIENT) -> Order:
    """An agreed order of some products."""
    request = OrderRequest(
        customer=CustomerRequest("Ada"),
        ship_to=HOME,
        currency="EUR",
        lines=tuple(LineRequest(product.sku, str(quantity)) for product, quantity in lines),
    )
    body = [[product.sku, quantity] for product, quantity in lines]
    submission = Submission(client, key, body, request, False, datetime.datetime.now(datetime.UTC))
    return agree(submission, {product.sku: product for product, _ in lines}, MERCHANT)


async def place_one(pool: Database, wanted: Order, deadline_s: float = 30) -> Placement:
    """Places one order and expects a placement."""
    [outcome] = await place(pool, [wanted], Deadline.after(deadline_s))
    assert isinstance(outcome, Placement)
    return outcome


def query(database: TestDatabase, sql: str) -> list[tuple[object, ...]]:
    """Rows of a query, as the owner sees them."""
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        return connection.execute(sql.encode()).fetchall()
