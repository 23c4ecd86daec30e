"""Confirming backordered orders when goods have come in, the oldest order first."""

import datetime

import msgspec
import psycopg
import structlog

from standfest.domain.backorders import Supplied, supply
from standfest.errors import StandfestError
from standfest.sales.bounds import count_within
from standfest.sales.store import Changed, write_changes
from standfest.storage.connection import Connection
from standfest.storage.database import Database
from standfest.storage.errors import TryAgain, concerns_the_database
from standfest.storage.orders import read_orders
from standfest.storage.statements import statement
from standfest.telemetry.failures import facts_of

ORDERS_MAX = 50
PRODUCTS_MAX = 100
_FIND_DEADLINE_S = 5.0
_CONFIRM_DEADLINE_S = 10.0
_ACTOR = "system:backorders"

DEFECTS = (psycopg.Error, StandfestError, msgspec.MsgspecError)
"""What an order that is not as it should be can raise, apart from the database being away."""

_log = structlog.get_logger(__name__)


class _Waiting(msgspec.Struct, frozen=True):
    """Who waits for what came in."""

    products: list[int]
    order_refs: list[int]


class Batch(msgspec.Struct, frozen=True):
    """What one call did."""

    confirmed: int
    """Orders that have all they waited for."""
    supplied_in_part: int
    """Orders that got something and wait on."""
    more: bool
    """There may be more to do at once."""
    failed: int = 0
    """Orders that could not be written, for a reason that the log has; the others went on without them."""


async def confirm_backorders(database: Database, orders_max: int = ORDERS_MAX) -> Batch:
    """Reserves what is free for at most `orders_max` orders that wait for it; a part is kept.

    Nothing is written, and nothing is locked, where nothing waits or nothing came in. Where the orders cannot be
    written together, each is written by itself.

    Raises:
        DatabaseUnavailable: nothing was changed.
        OutcomeUnknown: the batch may have been written; the next call finds out.
    """
    async with database.glance(_FIND_DEADLINE_S) as connection:
        waiting = await _find_waiting(connection, orders_max)
    if not waiting.order_refs:
        return Batch(0, 0, False)
    failed = 0
    try:
        supplied = await _confirm(database, waiting)
    except DEFECTS as error:
        if _is_for_later(error):
            raise
        _log.error("backorders_not_confirmed_together", orders=len(waiting.order_refs), **facts_of(error))
        supplied, failed = await _confirm_each(database, waiting)
    confirmed = sum(1 for each in supplied if each.order.status == "confirmed")
    return Batch(confirmed, len(supplied) - confirmed, more=bool(supplied), failed=failed)


async def _confirm(database: Database, waiting: _Waiting) -> list[Supplied]:
    async with database.write(_CONFIRM_DEADLINE_S) as connection:
        return await _supply(connection, waiting)


async def _confirm_each(database: Database, waiting: _Waiting) -> tuple[list[Supplied], int]:
    """What is supplied where each order has a transaction of its own, and how many orders failed."""
    supplied: list[Supplied] = []
    failed = 0
    for order_ref in waiting.order_refs:
        try:
            supplied += await _confirm(database, _Waiting(waiting.products, [order_ref]))
        except DEFECTS as error:
            if _is_for_later(error):
                raise
            failed += 1
            _log.error("backorder_not_confirmed", order_ref=order_ref, **facts_of(error))
    return supplied, failed


def _is_for_later(error: Exception) -> bool:
    """Whether it says something about the database, or asks to be tried again; else it may be one order's own."""
    return concerns_the_database(error) or isinstance(error, TryAgain)


async def _find_waiting(connection: Connection, orders_max: int) -> _Waiting:
    """The oldest orders of those that wait for anything that is free.

    For each product its `orders_max` oldest orders are looked at, and of all these the `orders_max` oldest
    are taken, fewer where they have many lines: no order is taken while an older one for the same product is not.
    """
    cursor = await connection.execute(
        statement("sales/find_waiting"), {"products_max": PRODUCTS_MAX, "orders_max": orders_max}
    )
    rows = await cursor.fetchall()
    lines: dict[int, int] = {order_ref: count for _, order_ref, count in rows}
    oldest = sorted(lines)[:orders_max]
    order_refs = oldest[: count_within(lines[order_ref] for order_ref in oldest)]
    return _Waiting(sorted({product_id for product_id, _, _ in rows}), order_refs)


async def _supply(connection: Connection, waiting: _Waiting) -> list[Supplied]:
    cursor = await connection.execute(statement("sales/lock_waiting_orders"), {"order_ref": waiting.order_refs})
    order_ids = [order_id for (order_id,) in await cursor.fetchall()]
    cursor = await connection.execute(statement("sales/lock_stock"), {"product_id": waiting.products})
    available: dict[int, int] = dict(await cursor.fetchall())
    orders = await read_orders(connection, order_ids)
    supplied = supply([orders[order_id] for order_id in order_ids], available)
    if supplied:
        at = datetime.datetime.now(datetime.UTC)
        await write_changes(connection, [_changed(each, at) for each in supplied])
    return supplied


def _changed(supplied: Supplied, at: datetime.datetime) -> Changed:
    return Changed(
        before=supplied.before,
        after=supplied.order,
        event_type="order.confirmed" if supplied.order.status == "confirmed" else "order.backordered",
        actor=_ACTOR,
        at=at,
        reason=None,
        data=supplied.data,
    )
