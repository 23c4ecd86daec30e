"""The direct path: orders written to PostgreSQL, many in one transaction, and answered once replicated.

The transaction, in this order and always (protocol, "Two paths"):

1. the barrier: WAL is written even when every order of the batch is a repeat, so the commit waits;
2. the orders' identities, claimed in ascending (client, key);
3. a savepoint; lines, stock, events and changes, stock locked in ascending product;
4. who holds the keys, read by a statement younger than the claims;
5. where something was short: back to the savepoint, a decision order by order in pure code, and 3 again;
6. the stored orders of repeats, and the commit.

Locks are always taken in the order keys, then stock: going back to the savepoint frees stock and keeps
keys, so two batches never wait for each other in a circle.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from standfest.domain.events import OrderEvent
from standfest.domain.lifecycle import State
from standfest.domain.orders import Order
from standfest.domain.stock import Decision, Shortage, allocate, in_full
from standfest.errors import StandfestError
from standfest.intake.decisions import decision_columns, head_columns, remembered
from standfest.intake.errors import KeyReused
from standfest.storage.connection import Connection
from standfest.storage.database import Database, commit
from standfest.storage.deadline import Deadline
from standfest.storage.orders import read_events, read_orders
from standfest.storage.statements import statement

_Cursor = psycopg.AsyncCursor[tuple[Any, ...]]
_Key = tuple[UUID, str]


class Placement(msgspec.Struct, frozen=True):
    """A durable answer to a submission."""

    order: Order
    """As it is stored."""
    repeated: bool
    """It was there before."""
    promise: State
    """What was promised when it came first: accepted, confirmed, backordered or declined."""
    agreed_hash: bytes
    """The content hash of what was agreed then."""
    shortages: tuple[Shortage, ...] = ()
    """Why it is declined."""


Outcome = Placement | KeyReused


class StatementBroken(StandfestError):
    """A statement did something its caller relies on it never to do; the transaction was rolled back."""


async def place(
    database: Database, orders: Sequence[Order], deadline: Deadline, silence_max_s: float | None = None
) -> list[Outcome]:
    """Places orders in one transaction; answers in the order given, after the commit is on a named standby.

    Args:
        database: where to.
        orders: in state `received` or `accepted`; no two with the same client and key.
        deadline: nothing is sent after it.
        silence_max_s: see `Database.connection`.

    Raises:
        DatabaseUnavailable: none of them was placed.
        OutcomeUnknown: each of them may have been placed.
    """
    async with database.connection(deadline, silence_max_s) as connection:
        outcomes = await _carry_out(connection, orders, [in_full(order) for order in orders])
        await commit(connection, deadline)
    return outcomes


async def place_aside(database: Database, decisions: Sequence[Decision], deadline: Deadline) -> None:
    """Stores orders in state `conflict` (from `set_aside`), each once however often it is asked for.

    Raises:
        DatabaseUnavailable, OutcomeUnknown: as `place`.
    """
    async with database.connection(deadline) as connection:
        outcomes = await _carry_out(connection, [decision.order for decision in decisions], decisions)
        if any(isinstance(outcome, KeyReused) for outcome in outcomes):
            raise StatementBroken(
                "the key of an order in conflict is held by another: only this product makes such keys"
            )
        await commit(connection, deadline)


async def _carry_out(connection: Connection, orders: Sequence[Order], wanted: Sequence[Decision]) -> list[Outcome]:
    decisions = {decision.order.order_id: decision for decision in wanted}
    async with connection.pipeline():
        await connection.execute("BEGIN")
        await connection.execute(statement("barrier"))
        claimed = await connection.execute(statement("intake/insert_orders"), head_columns(wanted))
        await connection.execute("SAVEPOINT claimed")
        written = await _write(connection, wanted)
        holders = await _find_holders(connection, orders)
        mine = {row[0] for row in await claimed.fetchall()}
        everything_was_there = await _everything_was_there(written)
    if not everything_was_there:
        decisions |= await _allocate(connection, [order for order in orders if order.order_id in mine])
    stored = await _read_repeats(connection, orders, mine, await _holders(holders))
    return [_placed(decisions[order.order_id]) if order.order_id in mine else stored[_key(order)] for order in orders]


def _placed(decision: Decision) -> Placement:
    order = decision.order
    return Placement(order, False, order.status, order.content_hash, decision.shortages)


async def _allocate(connection: Connection, orders: Sequence[Order]) -> dict[UUID, Decision]:
    """Decides on claimed orders one by one with their stock locked, and writes what was decided."""
    products = sorted({line.product_id for order in orders for line in order.lines})
    await connection.execute("ROLLBACK TO SAVEPOINT claimed")
    locked = await connection.execute(statement("intake/lock_stock"), {"product_id": products})
    available: dict[int, int] = dict(await locked.fetchall())
    decisions = {decision.order.order_id: decision for decision in allocate(orders, available)}
    other = [decision.order for decision in decisions.values() if decision.order.status != "confirmed"]
    async with connection.pipeline():
        written = await _write(connection, list(decisions.values()))
        await connection.execute(
            statement("intake/set_status"),
            {"order_id": [order.order_id for order in other], "status": [order.status for order in other]},
        )
        if not await _everything_was_there(written):
            raise StatementBroken("stock that was locked and counted was not there; report this with the log")
    return decisions


async def _write(connection: Connection, decisions: Sequence[Decision]) -> _Cursor:
    return await connection.execute(statement("intake/write_decisions"), decision_columns(decisions))


async def _everything_was_there(written: _Cursor) -> bool:
    row = await written.fetchone()
    return row is not None and row[0] == row[1]


async def _find_holders(connection: Connection, orders: Sequence[Order]) -> _Cursor:
    keys = {
        "client_id": [order.client_id for order in orders],
        "idempotency_key": [order.idempotency_key for order in orders],
    }
    return await connection.execute(statement("intake/find_claims"), keys)


async def _holders(found: _Cursor) -> dict[_Key, UUID]:
    return {(client_id, key): order_id for client_id, key, order_id in await found.fetchall()}


async def _read_repeats(
    connection: Connection, orders: Sequence[Order], mine: set[UUID], holders: dict[_Key, UUID]
) -> dict[_Key, Outcome]:
    """What is stored for the orders that this transaction did not claim."""
    repeats = [order for order in orders if order.order_id not in mine]
    if not repeats:
        return {}
    placements = await read_placements(connection, [order.order_id for order in repeats])
    return {
        _key(order): placements.get(order.order_id) or KeyReused(holders[_key(order)])  # in conflict: id, but not key
        for order in repeats
    }


async def read_placements(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, Placement]:
    """What repeats of these orders are answered; it counts once a barrier behind it is committed."""
    stored = await read_orders(connection, order_ids)
    events = await read_events(connection, order_ids)
    return {order_id: _repeated(order, events[order_id][0]) for order_id, order in stored.items()}


def _repeated(order: Order, first: OrderEvent) -> Placement:
    promise, shortages = remembered(order, first)
    return Placement(order, True, promise, first.content_hash, shortages)


def _key(order: Order) -> _Key:
    return order.client_id, order.idempotency_key
