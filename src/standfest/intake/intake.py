"""The intake of one process: bounded, with a deadline for each order."""

import asyncio

from standfest.domain.orders import Order
from standfest.intake.direct import Placement, place
from standfest.intake.errors import KeyReused, Overloaded
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline


class Intake:
    """Takes orders over the direct path, one order a transaction."""

    def __init__(self, database: Database, *, deadline_s: float, under_way_max: int) -> None:
        """
        Args:
            database: where orders go.
            deadline_s: seconds after which an order is answered, whatever is known by then.
            under_way_max: so many orders at once; more are turned away.
        """
        self._database = database
        self._deadline_s = deadline_s
        self._under_way_max = under_way_max
        self._under_way: set[asyncio.Task[Placement | KeyReused]] = set()

    async def place(self, order: Order) -> Placement:
        """Places one order and answers once that is durable.

        An order that was begun is carried through even where its caller goes away: a query that waits
        for the standby is never cancelled.

        Raises:
            KeyReused: the client used the key before for another request.
            Overloaded: nothing was attempted.
            DatabaseUnavailable: it was not placed.
            OutcomeUnknown: it may have been placed.
        """
        if len(self._under_way) >= self._under_way_max:
            raise Overloaded(f"{self._under_way_max} orders are under way in this process; try again shortly")
        task = asyncio.create_task(self._place(order, Deadline.after(self._deadline_s)))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        outcome = await asyncio.shield(task)
        if isinstance(outcome, KeyReused):
            raise outcome
        return outcome

    async def _place(self, order: Order, deadline: Deadline) -> Placement | KeyReused:
        [outcome] = await place(self._database, [order], deadline)
        return outcome
