"""Orders that arrive together travel together: bounded batches, few in the air, nobody waits for a fuller one.

Clients take turns: one that sends much does not keep the others waiting.

A batch leaves while fewer than `flights_max` are in the air and the one before left a while ago, so a lonely order is
never kept waiting; what arrives meanwhile is the next batch. One order cannot fail its neighbours: a batch that fails
for a reason which is not everybody's is halved until the order alone is left with its own failure.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar
from uuid import UUID

from standfest.domain.orders import Order
from standfest.intake.turns import Turns
from standfest.storage.deadline import Deadline

Answer = TypeVar("Answer")
Send = Callable[[Sequence[Order], Deadline], Awaitable[Sequence[Answer]]]
"""Carries a batch (no two orders with one client and key) and answers in its order, before the deadline."""


class Passenger(Generic[Answer]):
    """One order on its way, and who waits for it."""

    __slots__ = ("answer", "deadline", "order", "sent")

    def __init__(self, order: Order, deadline: Deadline) -> None:
        self.order = order
        self.deadline = deadline
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.sent = False
        """It has left with a batch: something may have happened."""

    def fail(self, error: BaseException) -> None:
        """Says that nothing will come of it, unless something did already; where it waits it is left behind."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # seen, also where nobody waits for it any more


class Batches(Generic[Answer]):
    """One way for orders to go."""

    def __init__(
        self,
        send: Send[Answer],
        *,
        everybodys: Callable[[Exception], bool],
        weigh: Callable[[Order], int],
        orders_max: int,
        weight_max: int,
        flights_max: int,
        spacing_s: Callable[[], float],
        gather_s: Callable[[], float] | None = None,
    ) -> None:
        """
        Args:
            send: carries one batch.
            everybodys: whether a failure is that of the way itself; nobody would fare better alone.
            weigh: how heavy an order is, in bytes, lines, whatever the way is bounded by.
            orders_max: in one batch.
            weight_max: of one batch; a single order may be heavier.
            flights_max: batches in the air at once.
            spacing_s: seconds between two departures, at least, while a batch is in the air.
            gather_s: the same where none is in the air; who has no company then leaves at once. None: as `spacing_s`.
        """
        self._send = send
        self._everybodys = everybodys
        self._weigh = weigh
        self._orders_max = orders_max
        self._weight_max = weight_max
        self._flights_max = flights_max
        self._spacing_s = spacing_s
        self._gather_s = gather_s
        self._company = False
        self._departed_at = 0.0
        self._departing: asyncio.TimerHandle | None = None
        self._waiting: Turns[Passenger[Answer]] = Turns()
        self._flights: set[asyncio.Task[None]] = set()
        self._under_way: dict[UUID, Passenger[Answer]] = {}

    @property
    def under_way(self) -> int:
        """Orders that wait or are in the air."""
        return len(self._under_way)

    def order(self, order_id: UUID) -> Order | None:
        """The order of this id that waits or is in the air; None where there is none."""
        passenger = self._under_way.get(order_id)
        return None if passenger is None else passenger.order

    def board(self, order: Order, deadline: Deadline) -> Passenger[Answer]:
        """Takes an order along; the same order (by id) that is under way already is shared, not sent twice."""
        passenger = self._under_way.get(order.order_id)
        if passenger is None:
            passenger = Passenger(order, deadline)
            self._under_way[order.order_id] = passenger
            passenger.answer.add_done_callback(lambda _: self._arrived(order.order_id))
            self._waiting.append(order.client_id, passenger)
            if self._departing is None:
                self._depart()
        elif deadline.remaining_s > passenger.deadline.remaining_s:
            passenger.deadline = deadline
        return passenger

    def turn_away(self, error: Exception) -> None:
        """Fails all that have not left: they can take another way at once."""
        for passenger in self._waiting:
            passenger.fail(error)
        self._waiting.clear()

    def _arrived(self, order_id: UUID) -> None:
        del self._under_way[order_id]

    def _pause_s(self) -> float:
        """How long the next batch has to wait yet."""
        if self._flights or self._gather_s is None:
            space_s = self._spacing_s()
        else:
            space_s = self._gather_s() if self._company else 0.0
        return self._departed_at + space_s - time.monotonic()

    def _depart(self) -> None:
        self._departing = None
        while self._waiting and len(self._flights) < self._flights_max:
            early_s = self._pause_s()
            if early_s > 0:
                self._departing = asyncio.get_running_loop().call_later(early_s, self._depart)
                return
            batch = self._next_batch()
            if not batch:
                return
            self._departed_at = time.monotonic()
            for passenger in batch:  # from now on something may happen, however late the flight's first step comes
                passenger.sent = True
            flight = asyncio.create_task(self._fly(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._company = bool(self._under_way)
        if self._departing is not None:
            self._departing.cancel()
        self._depart()
        if not flight.cancelled():
            flight.result()  # whatever can go wrong went to the passengers; anything else shall be seen

    def _next_batch(self) -> list[Passenger[Answer]]:
        """The first that wait, as many as go together: bounded, and no two with one client and key."""
        batch: list[Passenger[Answer]] = []
        left: list[Passenger[Answer]] = []
        keys = set()
        weight = 0
        while self._waiting and len(batch) < self._orders_max:
            passenger = self._waiting.take()
            if passenger.answer.done() or passenger.deadline.passed:
                continue  # who waited has gone, or goes now: nothing was sent
            order = passenger.order
            key = (order.client_id, order.idempotency_key)
            if key in keys:
                left.append(passenger)
                continue
            weight += self._weigh(order)
            if batch and weight > self._weight_max:
                left.append(passenger)
                break
            keys.add(key)
            batch.append(passenger)
        for passenger in reversed(left):
            self._waiting.put_back(passenger.order.client_id, passenger)
        return batch

    async def _fly(self, batch: list[Passenger[Answer]]) -> None:
        latest = max((passenger.deadline for passenger in batch), key=lambda deadline: deadline.remaining_s)
        try:
            answers = await self._send([passenger.order for passenger in batch], latest)
        except Exception as error:  # noqa: BLE001 - told to whom it concerns
            if len(batch) == 1 or self._everybodys(error):
                for passenger in batch:
                    passenger.fail(error)
                return
            middle = len(batch) // 2
            await self._fly(batch[:middle])
            await self._fly(batch[middle:])
        except BaseException as error:
            for passenger in batch:
                passenger.fail(error)
            raise
        else:
            for passenger, answer in zip(batch, answers, strict=True):
                if not passenger.answer.done():
                    passenger.answer.set_result(answer)
