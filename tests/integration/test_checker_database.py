"""What the drills' checker reads from the database by itself."""

import uuid
from decimal import Decimal

import psycopg
import pytest

from standfest.emergency.drills.checker import database as reader
from standfest.emergency.drills.checker.model import (
    CheckerError,
    FoundLine,
    FoundOrder,
    FoundStock,
    StockCount,
)
from tests.support.postgres import TestDatabase

PRODUCT = """
INSERT INTO product (sku, name_de, name_en, unit, unit_decimals, net_price, tax_class, active, stock_policy)
VALUES (%s, 'Ware', 'Goods', 'kg', 1, 2.00, 'standard', true, %s) RETURNING id
"""
ORDER = """
INSERT INTO orders (order_id, client_id, idempotency_key, request_hash, content_hash, status, path,
                    accepted_at, customer_reference, external_reference, currency, net, gross, agreed)
VALUES (%(order_id)s, %(client)s, %(key)s, '\\xaa', '\\xdd', 'confirmed', 'direct', now(), 'C1', %(nonce)s,
        'EUR', 3.00, 3.57, '{"customer": {"reference": "C1", "name": "One"}, "ship_to": {"city": "Here"}, "note": "x"}')
RETURNING id
"""
LINE = """
INSERT INTO order_line (order_ref, position, product_id, sku, name_de, name_en, unit, unit_decimals, quantity,
                        unit_price, net, tax_class, tax_category, tax_rate, stock_policy, reserved)
VALUES (%s, 1, %s, 'A', 'Ware', 'Goods', 'kg', 1, 15, 2.00, 3.00, 'standard', 'S', 19, 'tracked', 15)
"""
EVENT = """
INSERT INTO order_event (order_ref, version, type, actor, at, content_hash, chain_hash)
VALUES (%s, %s, %s, 'test', now(), %s, '\\x00')
"""
CHANGE = "INSERT INTO change (type, order_id, version, at) VALUES ('order.confirmed', %s, 1, now())"


class Shop:
    """A database with two clients and two products, into which orders are written row by row."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.clients = {name: self._client(name) for name in ("demo", "other")}
        self.product = self._product("A", "tracked")
        self._product("U", "untracked")

    def _client(self, name: str) -> uuid.UUID:
        identifier = uuid.uuid4()
        insert = "INSERT INTO client (id, name, scopes) VALUES (%s, %s, '{}')"
        self.connection.execute(insert, (identifier, name))
        return identifier

    def _product(self, sku: str, policy: str) -> int:
        [(identifier,)] = self.connection.execute(PRODUCT, (sku, policy)).fetchall()
        insert = "INSERT INTO stock (product_id, on_hand, reserved) VALUES (%s, 100, 0)"
        self.connection.execute(insert, (identifier,))
        return int(identifier)

    def order(self, client: str, nonce: str) -> str:
        """One order of 1.5 kg of A, with its event, its change and its reservation; its id."""
        order_id = str(uuid.uuid4())
        values = {
            "order_id": order_id,
            "client": self.clients[client],
            "key": f"k-{order_id}",
            "nonce": nonce,
        }
        [(order_ref,)] = self.connection.execute(ORDER, values).fetchall()
        self.connection.execute(LINE, (order_ref, self.product))
        self.connection.execute(EVENT, (order_ref, 1, "order.confirmed", b"\xcc"))
        self.connection.execute(EVENT, (order_ref, 2, "order.lines_cancelled", b"\xdd"))
        self.connection.execute(CHANGE, (order_id,))
        self.connection.execute("UPDATE stock SET reserved = reserved + 15 WHERE product_id = %s", (self.product,))
        return order_id


def test_reads_what_is_there(database: TestDatabase) -> None:
    """Orders come with all that the verdict compares, stock with what whose lines hold, in whole units."""
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        shop = Shop(connection)
        shop.order("demo", "before")
    with reader.connect(database.dsn("standfest_owner")) as snapshot:
        position = snapshot.position()
    with psycopg.connect(database.dsn("standfest_owner")) as connection:
        shop.connection = connection
        order_id = shop.order("demo", "n1")
        shop.order("other", "elsewhere")
        shop.order("other", "n1")
        connection.execute(CHANGE, (order_id,))

    with reader.connect(database.dsn("standfest_owner")) as snapshot:
        orders = snapshot.orders("demo", position, ["n1", "n2"])
        stock = snapshot.stock("demo", position, ["A", "U", "none"])
    assert [order.nonce for order in orders] == ["n1", "n1"], "the second is another client's with the same nonce"
    assert orders[0] == FoundOrder(
        order_id=order_id,
        nonce="n1",
        status="confirmed",
        number=None,
        currency="EUR",
        net=Decimal("3.00"),
        gross=Decimal("3.57"),
        lines=[FoundLine(1, "A", Decimal("1.5"), Decimal(2), Decimal(3), Decimal("1.5"))],
        parties={"customer": {"reference": "C1", "name": "One"}, "ship_to": {"city": "Here"}},
        customer_reference="C1",
        content_hash="cc",
        request_hash="aa",
        key=f"k-{order_id}",
        placements=2,
    )
    count = StockCount(Decimal("10.0"), Decimal("6.0"))
    assert stock == {"A": FoundStock(count, Decimal("6.0"), Decimal("3.0"))}


def test_cannot_write(database: TestDatabase) -> None:
    """The checker looks and touches nothing: its session is read-only."""
    with (
        pytest.raises(CheckerError, match="read-only"),
        reader.connect(database.dsn("standfest_owner")) as snapshot,
    ):
        snapshot._connection.execute("DELETE FROM orders")


def test_says_that_the_database_is_away(database: TestDatabase) -> None:
    """A database that cannot be reached is no verdict, it is an error that says so."""
    conninfo = psycopg.conninfo.make_conninfo(database.dsn("standfest_owner"), host="127.0.24.99", port=1)
    with pytest.raises(CheckerError, match="could not be opened"), reader.connect(conninfo):
        pass
