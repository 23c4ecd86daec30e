"""Finding orders: one by id, or pages of them, the newest first."""

from typing import Any
from uuid import UUID

import msgspec

from standfest.domain.identity import order_id_range
from standfest.domain.orders import Order
from standfest.sales.bounds import count_within
from standfest.sales.cursors import Cursors, Sealed
from standfest.storage.connection import Connection
from standfest.storage.generation import read_generation
from standfest.storage.orders import read_orders
from standfest.storage.statements import statement

PAGE_MAX = 100


class OrderFilter(msgspec.Struct, frozen=True):
    """Which orders; what is None does not matter."""

    client_id: UUID | None = None
    """Whose orders; None: everybody's."""
    status: str | None = None
    customer: str | None = None
    """The customer's reference."""
    external_reference: str | None = None
    number: str | None = None
    """The order number, as people type it; one that cannot be right finds nothing."""


class OrderPage(msgspec.Struct, frozen=True):
    """A page of a list."""

    orders: list[Order]
    next: str | None
    """Cursor of the next page; None on the last one."""


async def find_order(connection: Connection, order_id: UUID, client_id: UUID | None) -> Order | None:
    """The order with this id; where a client is given, only if it is that client's."""
    order = (await read_orders(connection, [order_id])).get(order_id)
    if order is None or client_id not in (None, order.client_id):
        return None
    return order


async def list_orders(
    connection: Connection, cursors: Cursors, wanted: OrderFilter, limit: int, cursor: Sealed | None = None
) -> OrderPage:
    """At most `limit` (1 to 100) orders by ingest position, the newest first, from behind `cursor`.

    A page ends earlier where its orders have many lines together (`bounds.LINES_MAX`).

    Raises:
        CursorExpired: the cursor's position means nothing in the data as they are now.
    """
    bounded = max(1, min(limit, PAGE_MAX))
    generation = await read_generation(connection)
    values: dict[str, Any] = {
        "before_id": None if cursor is None else cursors.open(generation, cursor)[0],
        "client_id": wanted.client_id,
        "status": wanted.status,
        "customer": wanted.customer,
        "external_reference": wanted.external_reference,
        "lowest": None,
        "highest": None,
        "limit": bounded + 1,
    }
    if wanted.number is not None:
        ids = order_id_range(wanted.number)
        if ids is None:
            return OrderPage([], None)
        values["lowest"], values["highest"] = ids
    # Not prepared: planned with its values, it uses the index of the condition that is given.
    found = await connection.execute(statement("sales/find_orders"), values, prepare=False)
    rows = await found.fetchall()
    page = rows[: count_within(lines for _, _, lines in rows[:bounded])]
    order_ids = [order_id for _, order_id, _ in page]
    orders = await read_orders(connection, order_ids)
    following = cursors.seal("orders", generation, page[-1][0]) if len(rows) > len(page) else None
    return OrderPage([orders[order_id] for order_id in order_ids], following)
