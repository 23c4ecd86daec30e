"""New orders, by whoever has the duty: each is looked at soon after it came in."""

import asyncio
import time
from collections import deque

from standfest.intake.audit import pace
from standfest.intake.audit.duty import Duty
from standfest.intake.audit.effort import Effort
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.passes import OrdersPass


class NewOrders:
    """Looks at the orders that came in since the last look."""

    def __init__(self, looks: Looks, orders: OrdersPass, duty: Duty) -> None:
        """`orders`: looks at a batch."""
        self._looks = looks
        self._orders = orders
        self._duty = duty
        self.unaudited = 0
        """New orders that should have been looked at by now."""

    async def run(self) -> None:
        """Looks until it is cancelled."""
        marks: deque[tuple[float, int]] = deque()
        after: int | None = None
        while True:
            await asyncio.sleep(pace.ROUND_S)
            newest = await self._looks.last_position() if self._duty.held else None
            if newest is None:
                marks.clear()
                after, self.unaudited = None, 0
                continue
            now = time.monotonic()
            marks.append((now, newest))
            upto = 0
            while marks and marks[0][0] <= now - pace.SETTLED_S:
                upto = marks.popleft()[1]
            if upto:
                after = max(0, upto - pace.NEW_ORDERS_FROM) if after is None else after
                after = await self._look_at(after, upto)

    async def _look_at(self, after: int, upto: int) -> int:
        """Looks at the orders between two ingest positions; how far it came."""
        while after < upto and self._duty.held:
            self.unaudited = upto - after
            effort = Effort()
            looked = await self._orders.look(after, upto)
            if looked is None:
                return after
            after, ended = looked
            if ended:
                after = upto
            await asyncio.sleep(pace.NEW_ORDERS_PAUSES * effort.seconds)
        self.unaudited = 0
        return after
