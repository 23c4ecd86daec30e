"""The direct path: orders written to PostgreSQL, many in one transaction, and answered once replicated.

The transaction, in this order and always (docs/protocol.md, "The direct path"):

1. the barrier: WAL is written even when every order of the batch is a repeat, so the commit waits; and the transaction
   has its id before it draws an ingest position, on which the audit rests (`intake/audit/complete.py`);
2. in one statement the orders' identities, claimed in ascending (client, key), then lines, stock, events and changes,
   stock locked in ascending product;
3. where something was short: back to the beginning; the identities alone, the stock locked, a decision order by order
   in pure code, and what was decided is written;
4. where not all were claimed: who holds the keys, read by a younger statement, and their stored orders;
5. the commit.

Locks are always taken in the order keys, then stock, so two batches never wait for each other in a circle.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg.pq.abc import PGresult

from standfest.domain.events import OrderEvent
from standfest.domain.lifecycle import State
from standfest.domain.orders import Order
from standfest.domain.stock import Decision, Shortage, allocate, in_full, scarce_after
from standfest.errors import StandfestError
from standfest.intake.decisions import decision_columns, head_columns, remembered
from standfest.intake.demand import Demand
from standfest.intake.errors import KeyReused
from standfest.storage.connection import Connection
from standfest.storage.database import BARRIER, BEGIN, ROLLBACK, Database, commit
from standfest.storage.deadline import Deadline
from standfest.storage.errors import TryAgain
from standfest.storage.exchange import Columns, Step
from standfest.storage.orders import read_events, read_orders
from standfest.storage.statements import statement

_DECISIONS_MAX = 3
"""Times that a batch is decided anew because its stock changed meanwhile."""

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


class Behind(msgspec.Struct, frozen=True):
    """An order that was not placed: what it wants is wanted by orders that were accepted earlier and still wait."""


class Earlier(msgspec.Struct, frozen=True):
    """Who waits in the journal, for those who must not take goods from them."""

    known: Demand
    """As it was a moment ago."""
    ask: Callable[[], Awaitable[Demand]]
    """As it is now, for certain; asked only where goods are scarce. Never raises."""


Outcome = Placement | KeyReused


class StatementBroken(StandfestError):
    """A statement did something its caller relies on it never to do; the transaction was rolled back."""


class _Written(msgspec.Struct, frozen=True):
    """A transaction that is still open."""

    barrier: PGresult
    outcomes: list[Outcome] | None
    """None where nothing was written: something was short, or held for others."""
    scarce: int
    """Products that somebody takes of which little is left, or that somebody queues for."""
    behind: frozenset[UUID] = frozenset()
    """Orders that would fare worse for what is held for others."""

    @property
    def placed(self) -> list[Outcome]:
        """What was written."""
        if self.outcomes is None:
            raise StatementBroken("nothing was written of a batch that was decided; report this with the log")
        return self.outcomes


async def place(
    database: Database, orders: Sequence[Order], deadline: Deadline, lock_wait_s: float | None = None
) -> list[Outcome]:
    """Places orders in one transaction; answers in the order given, after the commit is on a named standby.

    Args:
        database: where to.
        orders: in state `received` or `accepted`; no two with the same client and key.
        deadline: nothing is sent after it.
        lock_wait_s: how long it waits for a row that somebody holds; None: as long as the pool's sessions do.

    Raises:
        DatabaseUnavailable: none of them was placed.
        OutcomeUnknown: each of them may have been placed.
    """
    begin = _begin(lock_wait_s)
    async with database.connection(deadline) as connection:
        written = await _in_full(connection, [in_full(order) for order in orders], begin=begin)
        if written.outcomes is None:
            await connection.exchange.run(ROLLBACK)
            written = await _one_by_one(connection, orders, begin=begin)
        await commit(connection, deadline, written.barrier)
    return written.placed


async def place_behind(
    database: Database,
    orders: Sequence[Order],
    deadline: Deadline,
    silence_max_s: float | None,
    earlier: Earlier,
    lock_wait_s: float | None = None,
) -> list[Outcome | Behind]:
    """As `place`, but takes nothing that those want who wait in the journal: such an order is Behind.

    Whoever was accepted before the journal is asked is in its answer, or has been drained: then what was reserved for
    it is seen, as the stock is locked before, or read after, that. It is asked only where somebody takes goods of which
    little is left, queues for goods, or gets none for what is held: who gets nothing of what is there overtakes nobody.
    """
    known, begin = earlier.known, _begin(lock_wait_s)
    async with database.connection(deadline, silence_max_s) as connection:
        held = known.held_of(orders)
        written = await _in_full(connection, [in_full(order) for order in orders], held, known.scarce_lines, begin)
        if written.outcomes is None:
            await connection.exchange.run(ROLLBACK)
            written = await _one_by_one(connection, orders, held, known.scarce_lines, begin)
        # With goods that are scarce the transaction is still open: nobody else takes from them meanwhile.
        if written.scarce or written.behind:
            held = (await earlier.ask()).held_of(orders)
            if held or written.behind:
                await connection.exchange.run(ROLLBACK)
                return await _behind_others(connection, orders, deadline, held, begin)
        await commit(connection, deadline, written.barrier)
        return list(written.placed)


async def _behind_others(
    connection: Connection, orders: Sequence[Order], deadline: Deadline, held: Mapping[int, int], begin: Sequence[Step]
) -> list[Outcome | Behind]:
    """Decides order by order, with what is held for others left alone."""
    behind: set[UUID] = set()
    for _ in range(_DECISIONS_MAX):
        left = [order for order in orders if order.order_id not in behind]
        if not left:
            return [Behind() for _ in orders]
        written = await _one_by_one(connection, left, held, begin=begin)
        if not written.behind:
            await commit(connection, deadline, written.barrier)
            placed = {order.order_id: outcome for order, outcome in zip(left, written.placed, strict=True)}
            return [placed.get(order.order_id, Behind()) for order in orders]
        await connection.exchange.run(ROLLBACK)
        behind |= written.behind
    raise TryAgain("the stock of what was ordered changed each time it was looked at")


async def place_aside(database: Database, decisions: Sequence[Decision], deadline: Deadline) -> None:
    """Stores orders in state `conflict` (from `set_aside`), each once however often it is asked for.

    Raises:
        DatabaseUnavailable, OutcomeUnknown: as `place`.
    """
    async with database.connection(deadline) as connection:
        written = await _in_full(connection, decisions)
        if written.outcomes is None or any(isinstance(outcome, KeyReused) for outcome in written.outcomes):
            raise StatementBroken(
                "the key of an order in conflict is held by another: only this product makes such keys"
            )
        await commit(connection, deadline, written.barrier)


async def find_placed(database: Database, order: Order, deadline: Deadline) -> Outcome | None:
    """What a repeat of an order is answered by the database, without placing it: it, or who holds its key; or nobody.

    Raises:
        DatabaseUnavailable, OutcomeUnknown: that cannot be found out now.
    """
    async with database.connection(deadline) as connection:
        _, barrier = await connection.exchange.run(BEGIN, BARRIER)
        keys = {"client_id": [order.client_id], "idempotency_key": [order.idempotency_key]}
        row = await (await connection.execute(statement("intake/find_claims"), keys)).fetchone()
        placement = (await read_placements(connection, [order.order_id])).get(order.order_id)
        await commit(connection, deadline, barrier)
    if placement is None and row is not None:
        return KeyReused(row[2])
    return placement


async def try_out(database: Database, order: Order, deadline: Deadline) -> None:
    """Writes an order as `place` does, waits for a standby as it does, and keeps nothing of the order.

    Raises:
        DatabaseUnavailable: no order can be placed now; StatementFailed, where this release's statement is refused.
        OutcomeUnknown: no standby answered.
        psycopg.Error: the statement is refused for what is in this order.
    """
    async with database.connection(deadline) as connection:
        await _in_full(connection, [in_full(order)])
        await connection.exchange.run(ROLLBACK)
        _, barrier = await connection.exchange.run(BEGIN, BARRIER)
        await commit(connection, deadline, barrier)


def _begin(lock_wait_s: float | None) -> list[Step]:
    """The beginning of a transaction that waits so long for a locked row; None: as its session does."""
    if lock_wait_s is None:
        return [BEGIN]
    return [BEGIN, (statement("intake/lock_patience"), {"lock_wait": [f"{1000 * lock_wait_s:.0f}ms"]})]


async def _in_full(
    connection: Connection,
    decisions: Sequence[Decision],
    held: Mapping[int, int] | None = None,
    scarce_lines: int = 0,
    begin: Sequence[Step] = (BEGIN,),
) -> _Written:
    """Claims and writes all at once, as nearly all orders end; no outcomes where something was short."""
    columns = head_columns(decisions) | decision_columns(decisions) | _held_columns(held or {}, scarce_lines)
    write = statement("intake/claim", "intake/write"), columns
    *_, barrier, written = await connection.exchange.run(*begin, BARRIER, write)
    claimed, scarce = _claimed(written)
    if claimed is None:
        return _Written(barrier, None, scarce)
    if claimed == len(decisions):
        return _Written(barrier, [_placed(decision) for decision in decisions], scarce)
    return _Written(barrier, await _with_repeats(connection, decisions), scarce)


async def _one_by_one(
    connection: Connection,
    orders: Sequence[Order],
    held: Mapping[int, int] | None = None,
    scarce_lines: int = 0,
    begin: Sequence[Step] = (BEGIN,),
) -> _Written:
    """Claims, decides order by order with the stock locked, and writes what was decided.

    Where orders would fare worse for what is `held` for others (product id -> steps), nothing is written and these
    are named.
    """
    held = held or {}
    heads = head_columns([in_full(order) for order in orders])
    claim = statement("intake/claim", "intake/claimed_ids"), heads
    *_, barrier, ids = await connection.exchange.run(*begin, BARRIER, claim)
    mine = {UUID((ids.get_value(row, 0) or b"").decode()) for row in range(ids.ntuples)}
    claimed = [order for order in orders if order.order_id in mine]
    products = sorted({line.product_id for order in claimed for line in order.lines})
    locked = await connection.execute(statement("intake/lock_stock"), {"product_id": products})
    available: dict[int, int] = dict(await locked.fetchall())
    free = {product_id: steps - held.get(product_id, 0) for product_id, steps in available.items()}
    decisions = allocate(claimed, free)
    scarce = len(scarce_after(decisions, free, scarce_lines))
    behind = frozenset(decision.order.order_id for decision in decisions if _wants_held(decision, held))
    if behind:
        return _Written(barrier, None, scarce, behind)
    other = [decision.order for decision in decisions if decision.order.status != "confirmed"]
    states: Columns = {"order_id": [order.order_id for order in other], "status": [order.status for order in other]}
    written, _ = await connection.exchange.run(
        (statement("intake/claimed_before", "intake/write"), decision_columns(decisions) | _held_columns(held, 0)),
        (statement("intake/set_status"), states),
    )
    if _claimed(written)[0] != len(claimed):
        raise StatementBroken("stock that was locked and counted was not there; report this with the log")
    decided = {decision.order.order_id: decision for decision in decisions}
    whole = [decided.get(order.order_id) or Decision(order) for order in orders]
    return _Written(barrier, await _with_repeats(connection, whole), scarce)


def _wants_held(decision: Decision, held: Mapping[int, int]) -> bool:
    """Whether the order does not get all that it wants, and some of that is held for others."""
    order = decision.order
    if order.status == "confirmed":
        return False
    short = {order.lines[shortage.position - 1].product_id for shortage in decision.shortages}
    return any(
        product_id in held for product_id in short | {line.product_id for line in order.lines if line.backordered}
    )


def _held_columns(held: Mapping[int, int], scarce_lines: int) -> dict[str, list[Any]]:
    return {
        "held_product_id": list(held.keys()),
        "held_quantity": list(held.values()),
        "scarce_lines": [scarce_lines],
    }


def _placed(decision: Decision) -> Placement:
    order = decision.order
    return Placement(order, False, order.status, order.content_hash, decision.shortages)


def _claimed(written: PGresult) -> tuple[int | None, int]:
    """How many orders were claimed and written, None where something was short; and how many products are scarce."""
    claimed, demanded, taken, scarce = (int(written.get_value(0, column) or b"") for column in range(4))
    return (claimed if demanded == taken else None), scarce


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
