"""Batches: what leaves when, with whom, and what becomes of who is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import uuid4

import msgspec
import pytest

from standfest.domain.orders import Order
from standfest.intake.batches import Batches
from standfest.storage.deadline import Deadline
from tests.unit.trade import line, order_of

Answers = list[str]


class Away(Exception):
    """Everybody's failure."""


class Way:
    """A way that carries batches when it is told to, and notes who travelled with whom."""

    def __init__(self, wrong: Callable[[Order], bool] = lambda _: False) -> None:
        self.flights: list[list[str]] = []
        self.open = asyncio.Event()
        self.away = False
        self._wrong = wrong

    async def send(self, orders: Sequence[Order], _: Deadline) -> Answers:
        """Waits until it is open, and answers with the orders' keys."""
        self.flights.append([order.idempotency_key for order in orders])
        await self.open.wait()
        if self.away:
            raise Away
        if any(map(self._wrong, orders)):
            raise ValueError("one of these is wrong")
        return [order.idempotency_key for order in orders]


def batches_on(way: Way, **limits: float) -> Batches[str]:
    """Batches of at most three orders, one in the air."""
    return Batches(
        way.send,
        everybodys=lambda error: isinstance(error, Away),
        weigh=lambda _: 1,
        orders_max=int(limits.get("orders_max", 3)),
        weight_max=int(limits.get("weight_max", 100)),
        flights_max=int(limits.get("flights_max", 1)),
        spacing_s=lambda: limits.get("spacing_s", 0.0),
        gather_s=(lambda: limits["gather_s"]) if "gather_s" in limits else None,
    )


def wanted(key: str) -> Order:
    """An order of its own id."""
    return msgspec.structs.replace(order_of("received", line(1, 1)), idempotency_key=key, order_id=uuid4())


async def test_the_first_leaves_alone_and_what_comes_meanwhile_leaves_together() -> None:
    """A lonely order waits for nobody; those that arrive while it flies share the next flights, in their order."""
    way = Way()
    batches = batches_on(way)
    passengers = [batches.board(wanted(key), Deadline.after(5)) for key in "abcde"]
    await asyncio.sleep(0)
    way.open.set()
    assert [await passenger.answer for passenger in passengers] == list("abcde")
    assert way.flights == [["a"], ["b", "c", "d"], ["e"]]
    assert batches.under_way == 0


async def test_an_order_is_under_way_until_its_answer_is_there() -> None:
    """It is found by its id while it waits and while it flies, whoever waits for it, and no longer."""
    way = Way()
    batches = batches_on(way)
    orders = [wanted(key) for key in "ab"]
    passengers = [batches.board(each, Deadline.after(5)) for each in orders]
    await asyncio.sleep(0)
    assert way.flights == [["a"]]
    assert [batches.order(each.order_id) for each in orders] == orders
    assert batches.order(uuid4()) is None
    way.open.set()
    await asyncio.gather(*(passenger.answer for passenger in passengers))
    await asyncio.sleep(0)
    assert [batches.order(each.order_id) for each in orders] == [None, None]


async def test_one_clients_many_orders_keep_no_other_client_waiting() -> None:
    """Clients take turns: another client's first order is in the next batch, however many wait before it."""
    way = Way()
    batches = batches_on(way)
    for key in "abcdefgh":
        batches.board(wanted(key), Deadline.after(5))
    other = batches.board(msgspec.structs.replace(wanted("other"), client_id=uuid4()), Deadline.after(5))
    await asyncio.sleep(0)
    way.open.set()
    await other.answer
    assert way.flights[1] == ["b", "other", "c"]


async def test_the_same_order_twice_is_one_passenger() -> None:
    """A twin shares the attempt that is under way, and the later of the two deadlines."""
    way = Way()
    batches = batches_on(way)
    order = wanted("a")
    first, second = batches.board(order, Deadline.after(1)), batches.board(order, Deadline.after(9))
    assert first is second
    assert first.deadline.remaining_s > 5


async def test_two_requests_under_one_key_never_travel_together() -> None:
    """The statement takes no two orders with one client and key: the second waits for the next flight."""
    way = Way()
    batches = batches_on(way)
    passengers = [batches.board(wanted(key), Deadline.after(5)) for key in ("first", "a", "a", "b")]
    way.open.set()
    await asyncio.gather(*(passenger.answer for passenger in passengers))
    assert way.flights == [["first"], ["a", "b"], ["a"]]


async def test_who_is_turned_away_was_not_sent() -> None:
    """Turning away fails those that wait, and not those in the air."""
    way = Way()
    batches = batches_on(way)
    flying, waiting = (batches.board(wanted(key), Deadline.after(5)) for key in "ab")
    batches.turn_away(Away())
    assert (flying.sent, waiting.sent) == (True, False)
    with pytest.raises(Away):
        await waiting.answer
    way.open.set()
    assert await flying.answer == "a"


async def test_an_order_counts_as_sent_before_its_flights_first_step() -> None:
    """Between the decision to fly and the first step of the flight nobody is told that nothing was attempted."""
    batches = batches_on(Way())
    assert batches.board(wanted("a"), Deadline.after(5)).sent


async def test_a_passenger_whose_deadline_passed_is_left_behind() -> None:
    """What is answered as not attempted is not attempted a moment later."""
    way = Way()
    batches = batches_on(way)
    first = batches.board(wanted("a"), Deadline.after(5))
    late = batches.board(wanted("late"), Deadline.after(-1))
    late.fail(Away())
    way.open.set()
    await first.answer
    assert way.flights == [["a"]]


async def test_a_wrong_order_fails_alone() -> None:
    """A batch that fails is halved until the wrong order is alone with its failure."""
    way = Way(wrong=lambda order: order.idempotency_key == "wrong")
    batches = batches_on(way, orders_max=8)
    first = batches.board(wanted("first"), Deadline.after(5))
    others = [batches.board(wanted(key), Deadline.after(5)) for key in ("b", "wrong", "c", "d", "e")]
    way.open.set()
    answers = await asyncio.gather(*(each.answer for each in (first, *others)), return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, str)] == ["first", "b", "c", "d", "e"]
    assert [type(answer) for answer in answers if not isinstance(answer, str)] == [ValueError]


async def test_a_failure_of_the_way_is_everybodys() -> None:
    """Where the way itself fails nobody is tried again by itself."""
    way = Way()
    batches = batches_on(way)
    passengers = [batches.board(wanted(key), Deadline.after(5)) for key in "abc"]
    way.away = True
    way.open.set()
    answers = await asyncio.gather(*(each.answer for each in passengers), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Away] * 3
    assert way.flights == [["a"], ["b", "c"]]


async def test_weight_bounds_a_batch_and_a_heavy_order_travels_alone() -> None:
    """A batch ends where the next order would make it too heavy."""
    way = Way()
    batches = batches_on(way, weight_max=2)
    passengers = [batches.board(wanted(key), Deadline.after(5)) for key in "abcde"]
    way.open.set()
    await asyncio.gather(*(passenger.answer for passenger in passengers))
    assert way.flights == [["a"], ["b", "c"], ["d", "e"]]


async def test_departures_are_spaced_and_the_first_is_not_kept() -> None:
    """With a space between departures orders share flights that would have left one by one."""
    way = Way()
    way.open.set()
    batches = batches_on(way, spacing_s=0.05, orders_max=10)
    passengers = [batches.board(wanted("a"), Deadline.after(5))]
    await passengers[0].answer
    for key in "bcd":
        passengers.append(batches.board(wanted(key), Deadline.after(5)))
        await asyncio.sleep(0)
    assert [await passenger.answer for passenger in passengers] == list("abcd")
    assert way.flights == [["a"], ["b", "c", "d"]]


async def test_a_second_flight_leaves_after_a_while_and_who_is_alone_at_once() -> None:
    """While a flight is in the air the next one waits for company; as soon as none is, all that wait leave."""
    way = Way()
    batches = batches_on(way, spacing_s=0.05, orders_max=10, flights_max=2, gather_s=0.0)
    first = batches.board(wanted("a"), Deadline.after(5))
    others = [batches.board(wanted(key), Deadline.after(5)) for key in "bc"]
    await asyncio.sleep(0)
    assert way.flights == [["a"]]
    way.open.set()
    assert [await passenger.answer for passenger in (first, *others)] == list("abc")
    assert way.flights == [["a"], ["b", "c"]]


async def test_who_follows_in_company_gathers_and_who_is_alone_leaves_at_once() -> None:
    """After a flight behind which somebody waits the next one leaves no sooner than the space; after one behind which
    nobody does, at once."""
    way = Way()
    batches = batches_on(way, spacing_s=5.0, gather_s=0.05, orders_max=10)
    first, second = (batches.board(wanted(key), Deadline.after(5)) for key in "ab")
    way.open.set()
    await first.answer
    await asyncio.sleep(0)
    third = batches.board(wanted("c"), Deadline.after(5))
    assert [await second.answer, await third.answer] == ["b", "c"]
    assert way.flights == [["a"], ["b", "c"]]
    await asyncio.sleep(0)
    alone = batches.board(wanted("d"), Deadline.after(5))
    await asyncio.sleep(0)
    assert way.flights[-1] == ["d"]
    await alone.answer


async def test_a_slow_flight_holds_up_the_next_one_no_longer_than_the_space() -> None:
    """What waits leaves beside a flight that does not land."""
    way = Way()
    batches = batches_on(way, spacing_s=0.01, orders_max=10, flights_max=2, gather_s=0.0)
    passengers = [batches.board(wanted(key), Deadline.after(5)) for key in "abc"]
    async with asyncio.timeout(60):
        while len(way.flights) < 2:  # noqa: ASYNC110 - the way has no event for it
            await asyncio.sleep(0.001)
    assert way.flights == [["a"], ["b", "c"]]
    way.open.set()
    assert [await passenger.answer for passenger in passengers] == list("abc")
