"""Writing that one request was accepted twice, at two prices."""

import datetime

import msgspec

from standfest.domain.agreed_again import agree_again
from standfest.domain.events import next_event
from standfest.domain.orders import Order
from standfest.storage.connection import Connection
from standfest.storage.orders import read_events, read_orders
from standfest.storage.statements import statement

_ACTOR = "system:journal"


async def keep_lower(connection: Connection, other: Order) -> None:
    """Lets the lower total hold, in the caller's transaction; nothing is done where that was done before.

    Args:
        connection: in a transaction.
        other: what the journal accepted; the order with its id is stored.
    """
    order_ids = [other.order_id]
    await connection.execute(statement("sales/lock_order"), {"order_id": other.order_id, "client_id": None})
    stored = (await read_orders(connection, order_ids))[other.order_id]
    events = (await read_events(connection, order_ids))[other.order_id]
    again = agree_again(stored, events, other)
    if again is None:
        return
    after = again.order
    event = next_event(
        events[-1].chain_hash,
        version=after.version,
        type="order.agreed_again",
        actor=_ACTOR,
        at=datetime.datetime.now(datetime.UTC),
        content_hash=after.content_hash,
        data=again.data,
    )
    await connection.execute(
        statement("sales/update_orders"),
        {
            "order_id": order_ids,
            "status": [after.status],
            "version": [after.version],
            "content_hash": [after.content_hash],
            "net": [after.totals.net],
            "gross": [after.totals.gross],
        },
    )
    await connection.execute(
        statement("intake/reprice_lines"),
        {
            "order_id": other.order_id,
            "position": [line.position for line in after.lines],
            "unit_price": [line.unit_price for line in after.lines],
            "line_net": [line.net for line in after.lines],
            "tax_class": [line.tax_class for line in after.lines],
            "tax_category": [line.tax_category for line in after.lines],
            "tax_rate": [line.tax_rate for line in after.lines],
        },
    )
    await connection.execute(
        statement("sales/append_events"),
        {
            "order_id": order_ids,
            "version": [event.version],
            "type": [event.type],
            "actor": [event.actor],
            "at": [event.at],
            "reason": [None],
            "data": [msgspec.json.encode(event.data).decode()],
            "content_hash": [event.content_hash],
            "chain_hash": [event.chain_hash],
        },
    )
