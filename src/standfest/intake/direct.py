"""The direct path: orders written to PostgreSQL, many in one transaction, and answered once replicated.

The transaction, in this order and always (protocol, "Two paths"):

1. the barrier: WAL is written even when every order of the batch is a repeat, so the commit waits;
2. in one statement the orders' identities, claimed in ascending (client, key), then lines, stock, events and changes,
   stock locked in ascending product;
3. where something was short: back to the beginning; the identities alone, the stock locked, a decision order by order
   in pure code, and what was decided is written;
4. where not all were claimed: who holds the keys, read by a younger statement, and their stored orders;
5. the commit.

Locks are always taken in the order keys, then stock, so two batches never wait for each other in a circle.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from psycopg.pq.abc import PGresult

from standfest.domain.events import OrderEvent
from standfest.domain.lifecycle import State
from standfest.domain.orders import Order
from standfest.domain.stock import Decision, Shortage, allocate, in_full
from standfest.errors import StandfestError
from standfest.intake.decisions import decision_columns, head_columns, remembered
from standfest.intake.errors import KeyReused
from standfest.storage.connection import Connection
from standfest.storage.database import BARRIER, BEGIN, ROLLBACK, Database, commit
from standfest.storage.deadline import Deadline
from standfest.storage.exchange import Columns
from standfest.storage.orders import read_events, read_orders
from standfest.storage.statements import statement

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
        barrier, outcomes = await _in_full(connection, [in_full(order) for order in orders])
        if outcomes is None:
            await connection.exchange.run(ROLLBACK)
            barrier, outcomes = await _one_by_one(connection, orders)
        await commit(connection, deadline, barrier)
    return outcomes


async def place_aside(database: Database, decisions: Sequence[Decision], deadline: Deadline) -> None:
    """Stores orders in state `conflict` (from `set_aside`), each once however often it is asked for.

    Raises:
        DatabaseUnavailable, OutcomeUnknown: as `place`.
    """
    async with database.connection(deadline) as connection:
        barrier, outcomes = await _in_full(connection, decisions)
        if outcomes is None or any(isinstance(outcome, KeyReused) for outcome in outcomes):
            raise StatementBroken(
                "the key of an order in conflict is held by another: only this product makes such keys"
            )
        await commit(connection, deadline, barrier)


async def _in_full(connection: Connection, decisions: Sequence[Decision]) -> tuple[PGresult, list[Outcome] | None]:
    """Claims and writes all at once, as nearly all orders end; no outcomes where something was short."""
    columns = head_columns(decisions) | decision_columns(decisions)
    write = statement("intake/claim", "intake/write"), columns
    _, barrier, written = await connection.exchange.run(BEGIN, BARRIER, write)
    claimed = _claimed(written)
    if claimed is None:
        return barrier, None
    if claimed == len(decisions):
        return barrier, [_placed(decision) for decision in decisions]
    return barrier, await _with_repeats(connection, decisions)


async def _one_by_one(connection: Connection, orders: Sequence[Order]) -> tuple[PGresult, list[Outcome]]:
    """Claims, decides order by order with the stock locked, and writes what was decided."""
    heads = head_columns([in_full(order) for order in orders])
    claim = statement("intake/claim", "intake/claimed_ids"), heads
    _, barrier, ids = await connection.exchange.run(BEGIN, BARRIER, claim)
    mine = {UUID((ids.get_value(row, 0) or b"").decode()) for row in range(ids.ntuples)}
    claimed = [order for order in orders if order.order_id in mine]
    products = sorted({line.product_id for order in claimed for line in order.lines})
    locked = await connection.execute(statement("intake/lock_stock"), {"product_id": products})
    available: dict[int, int] = dict(await locked.fetchall())
    decisions = allocate(claimed, available)
    other = [decision.order for decision in decisions if decision.order.status != "confirmed"]
    states: Columns = {"order_id": [order.order_id for order in other], "status": [order.status for order in other]}
    written, _ = await connection.exchange.run(
        (statement("intake/claimed_before", "intake/write"), decision_columns(decisions)),
        (statement("intake/set_status"), states),
    )
    if _claimed(written) != len(claimed):
        raise StatementBroken("stock that was locked and counted was not there; report this with the log")
    decided = {decision.order.order_id: decision for decision in decisions}
    whole = [decided.get(order.order_id) or Decision(order) for order in orders]
    return barrier, await _with_repeats(connection, whole)


def _placed(decision: Decision) -> Placement:
    order = decision.order
    return Placement(order, False, order.status, order.content_hash, decision.shortages)


def _claimed(written: PGresult) -> int | None:
    """How many orders were claimed and written; None where something was short."""
    claimed, demanded, taken = (int(written.get_value(0, column) or b"") for column in range(3))
    return claimed if demanded == taken else None


async def _with_repeats(connection: Connection, decisions: Sequence[Decision]) -> list[Outcome]:
    """The outcomes where not all orders were claimed: for the others, what is stored."""
    orders = [decision.order for decision in decisions]
    keys = {
        "client_id": [order.client_id for order in orders],
        "idempotency_key": [order.idempotency_key for order in orders],
    }
    cursor = await connection.execute(statement("intake/find_claims"), keys)
    holders: dict[_Key, UUID] = {}
    mine = set()
    for client_id, key, order_id, is_mine in await cursor.fetchall():
        holders[client_id, key] = order_id
        if is_mine:
            mine.add(order_id)
    stored = await _read_repeats(connection, orders, mine, holders)
    return [
        _placed(decision) if decision.order.order_id in mine else stored[_key(decision.order)] for decision in decisions
    ]


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
