"""Stock that somebody else holds locked: it keeps only those orders waiting that need it.

A batch waits for a locked row for `patience_s` only. Then those of its orders that need nothing that is locked are
placed at once, and the others wait beside (`HELD`), without holding anything themselves, until a look says that their
stock is free; where a lock came up in between, all wait for one more look. Other batches lock rows too, for as long as
their commits take: a row counts as held once two looks found the same holder, and as long as they do new orders that
need it wait beside from the start.
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Literal

from standfest.domain.orders import Order
from standfest.intake.direct import Behind, Outcome
from standfest.storage.connection import Connection
from standfest.storage.database import BEGIN, ROLLBACK, Database
from standfest.storage.deadline import Deadline, now_s
from standfest.storage.errors import LockTimeout
from standfest.storage.statements import statement

LOCK_WAIT_MS = 100
"""A locked row is waited for so long at least: well below the silence after which the database counts as away."""
_LOCK_WAIT_MAX_S = 0.5
_LOCK_WAIT_COMMITS = 2.0
_LOOK_VALID_S = 0.5
"""What was seen longer ago says nothing of now."""


def patience_s(commit_s: float) -> float:
    """How long a locked row is waited for where a commit takes so long (seconds): who only places orders is done after
    twice that."""
    return min(max(_LOCK_WAIT_COMMITS * commit_s, LOCK_WAIT_MS / 1_000), _LOCK_WAIT_MAX_S)


class Held(Enum):
    """What becomes of an order whose stock is locked."""

    HELD = "held"
    """Nothing yet: it was not placed."""


HELD: Literal[Held.HELD] = Held.HELD
Placed = Outcome | Behind | Held
"""What becomes of an order on the direct path."""
Place = Callable[[Sequence[Order], Deadline], Awaitable[list[Outcome | Behind]]]
"""Places orders in one transaction, over the same pool."""


class StockLocks:
    """The way around stock that is locked."""

    def __init__(self, database: Database, silence_max_s: Callable[[], float], place: Place) -> None:
        """
        Args:
            database: a pool whose sessions wait for locks for LOCK_WAIT_MS.
            silence_max_s: see `Database.connection`.
            place: places orders over this pool.
        """
        self._place = place
        self._database = database
        self._silence_max_s = silence_max_s
        self._holders: dict[int, tuple[str, float]] = {}
        self._held: dict[int, float] = {}

    def holds(self, order: Order) -> bool:
        """Whether somebody is known to hold stock that this order needs."""
        if not self._held:
            return False
        oldest = now_s() - _LOOK_VALID_S
        return any(self._held.get(line.product_id, oldest) > oldest for line in order.lines)

    async def place(self, orders: Sequence[Order], deadline: Deadline) -> list[Placed]:
        """Places those of the orders whose stock is not held, in one transaction where nothing is locked.

        Raises:
            DatabaseUnavailable, OutcomeUnknown: as `direct.place_behind`.
        """
        try:
            return list(await self._place(orders, deadline))
        except LockTimeout:
            return await self.place_free(orders, deadline)

    async def place_free(self, orders: Sequence[Order], deadline: Deadline) -> list[Placed]:
        """The same, for orders some of which need stock that was locked: it looks first."""
        standing = await self._look({line.product_id for order in orders for line in order.lines}, deadline)
        free = [order for order in orders if not any(line.product_id in standing for line in order.lines)]
        placed: list[Outcome | Behind] = []
        if free:
            try:
                placed = await self._place(free, deadline)
            except LockTimeout:
                free = []
        outcomes: dict[object, Outcome | Behind] = {
            order.order_id: outcome for order, outcome in zip(free, placed, strict=True)
        }
        return [outcomes.get(order.order_id, HELD) for order in orders]

    async def _look(self, products: set[int], deadline: Deadline) -> set[int]:
        """Those of the products whose stock is held by the same one as at the look before, or seen locked first now."""
        async with self._database.connection(deadline, self._silence_max_s()) as connection:
            locked = await locked_stock(connection, products)
        now = now_s()
        standing = set()
        for product_id in products:
            holder, before = locked.get(product_id), self._holders.pop(product_id, None)
            self._held.pop(product_id, None)
            if holder is None:
                continue
            self._holders[product_id] = holder, now
            if before is None or before[1] < now - _LOOK_VALID_S:
                standing.add(product_id)
            elif before[0] == holder:
                standing.add(product_id)
                self._held[product_id] = now
        return standing


async def locked_stock(connection: Connection, products: set[int]) -> dict[int, str]:
    """Those of the products whose stock somebody else has locked now, and a sign of who it is."""
    look = statement("intake/locked_stock"), {"product_id": sorted(products)}
    _, found, _ = await connection.exchange.run(BEGIN, look, ROLLBACK)
    values = [(found.get_value(row, 0), found.get_value(row, 1)) for row in range(found.ntuples)]
    return {int(product_id or b""): (holder or b"").decode() for product_id, holder in values}
