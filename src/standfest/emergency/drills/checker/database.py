"""Reads orders and stock straight from the database, by table names, read-only, in one snapshot."""

import contextlib
from collections.abc import Iterator, Sequence
from decimal import Decimal

import psycopg
from psycopg.rows import DictRow, dict_row

from .model import PARTIES, CheckerError, FoundLine, FoundOrder, FoundStock, StockCount

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_MS = 120_000

ORDERS = """
SELECT o.id, o.order_id::text AS order_id, o.idempotency_key, encode(o.request_hash, 'hex') AS request_hash,
       o.status, o.customer_reference, o.external_reference, o.currency, o.net, o.gross,
       o.agreed, encode(placed.content_hash, 'hex') AS content_hash,
       greatest(
           (SELECT count(*) FROM order_event e WHERE e.order_ref = o.id AND e.version = 1),
           coalesce(told.placements, 0)
       ) AS placements
FROM orders o
JOIN client ON client.id = o.client_id
LEFT JOIN order_event placed ON placed.order_ref = o.id AND placed.version = 1
LEFT JOIN (  -- the feed has no index by order: it is read once
    SELECT order_id, count(*) AS placements FROM change WHERE version = 1 AND order_id IS NOT NULL GROUP BY order_id
) told ON told.order_id = o.order_id
WHERE (client.name = %(client)s AND o.id > %(position)s) OR o.external_reference = ANY (%(nonces)s)
ORDER BY o.id
"""

LINES = """
SELECT order_ref, position, sku, unit_decimals, quantity, unit_price, net, reserved, backordered, cancelled
FROM order_line
WHERE order_ref = ANY (%(orders)s)
ORDER BY order_ref, position
"""

STOCK = """
SELECT p.sku, p.unit_decimals, s.on_hand, s.reserved,
       coalesce(held.by_lines, 0) AS by_lines, coalesce(held.by_others, 0) AS by_others
FROM product p
JOIN stock s ON s.product_id = p.id
LEFT JOIN (
    SELECT l.product_id, sum(l.reserved) AS by_lines,
           sum(l.reserved) FILTER (WHERE o.id > %(position)s AND c.name <> %(client)s) AS by_others
    FROM order_line l
    LEFT JOIN orders o ON o.id = l.order_ref
    LEFT JOIN client c ON c.id = o.client_id
    GROUP BY l.product_id
) held ON held.product_id = p.id
WHERE p.sku = ANY (%(skus)s) AND p.stock_policy <> 'untracked'
"""

MISSING = """
SELECT count(*) AS missing
FROM unnest(%(order_ids)s::uuid []) AS wanted (order_id)
WHERE NOT EXISTS (SELECT FROM orders o WHERE o.order_id = wanted.order_id)
"""


class Database:
    """One read-only snapshot of the primary; made by `connect`."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._connection = connection

    def position(self) -> int:
        """The highest ingest position of an order; 0 where there is none."""
        [row] = self._connection.execute("SELECT coalesce(max(id), 0) AS position FROM orders").fetchall()
        return int(row["position"])

    def missing(self, order_ids: Sequence[str]) -> int:
        """How many of these orders are not there."""
        [row] = self._connection.execute(MISSING, {"order_ids": list(order_ids)}).fetchall()
        return int(row["missing"])

    def orders(self, client: str, position: int, nonces: Sequence[str]) -> list[FoundOrder]:
        """A client's orders above an ingest position, and whoever's carry one of the nonces."""
        given = {"client": client, "position": position, "nonces": list(nonces)}
        found = self._connection.execute(ORDERS, given).fetchall()
        lines: dict[int, list[FoundLine]] = {row["id"]: [] for row in found}
        for row in self._connection.execute(LINES, {"orders": list(lines)}):
            lines[row["order_ref"]].append(_line(row))
        return [_order(row, lines[row["id"]]) for row in found]

    def stock(self, client: str, position: int, skus: Sequence[str]) -> dict[str, FoundStock]:
        """The stock of these SKUs, where it is kept, and what order lines hold of it."""
        given = {"client": client, "position": position, "skus": list(skus)}
        rows = self._connection.execute(STOCK, given).fetchall()
        return {
            row["sku"]: FoundStock(_count(row), _quantity(row, "by_lines"), _quantity(row, "by_others")) for row in rows
        }


@contextlib.contextmanager
def connect(conninfo: str) -> Iterator[Database]:
    """A snapshot of the primary that a libpq connection string leads to; CheckerError where there is none."""
    try:
        connection = psycopg.connect(
            conninfo,
            connect_timeout=CONNECT_TIMEOUT_S,
            target_session_attrs="primary",
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
            application_name="standfest-checker",
            row_factory=dict_row,
        )
    except psycopg.OperationalError as error:
        raise CheckerError(f"the database could not be opened: {_short(error)}") from error
    with contextlib.closing(connection):
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        try:
            yield Database(connection)
        except psycopg.Error as error:
            raise CheckerError(f"the database could not be read: {_short(error)}") from error


def _short(error: psycopg.Error) -> str:
    # The lines after the first name every address of the connection string again.
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _quantity(row: DictRow, name: str) -> Decimal:
    # The database counts smallest steps of the product's unit.
    return Decimal(row[name]).scaleb(-int(row["unit_decimals"]))


def _count(row: DictRow) -> StockCount:
    return StockCount(_quantity(row, "on_hand"), _quantity(row, "reserved"))


def _line(row: DictRow) -> FoundLine:
    return FoundLine(
        position=row["position"],
        sku=row["sku"],
        quantity=_quantity(row, "quantity"),
        unit_price=row["unit_price"],
        net=row["net"],
        reserved=_quantity(row, "reserved"),
        backordered=_quantity(row, "backordered"),
        cancelled=_quantity(row, "cancelled"),
    )


def _order(row: DictRow, lines: Sequence[FoundLine]) -> FoundOrder:
    return FoundOrder(
        order_id=row["order_id"],
        nonce=row["external_reference"],
        status=row["status"],
        number=None,
        currency=row["currency"],
        net=row["net"],
        gross=row["gross"],
        lines=lines,
        parties={name: row["agreed"][name] for name in PARTIES if name in row["agreed"]},
        customer_reference=row["customer_reference"],
        content_hash=row["content_hash"],
        request_hash=row["request_hash"],
        key=row["idempotency_key"],
        placements=row["placements"],
    )
