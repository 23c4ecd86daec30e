"""Which orders say how long the process takes for one, and when it says at once that it can take none."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from standfest.domain.orders import Order
from standfest.intake.direct import Placement
from standfest.intake.errors import IntakeUnavailable, JournalFull
from standfest.intake.intake import Intake
from standfest.storage.deadline import Deadline
from standfest.storage.promptness import GIVEN_UP_S
from tests.unit.trade import line, order_of

ORDER = order_of("confirmed", line(1, 1))
SLOW_S = 0.7
"""Later than any order is wanted where commits are quick."""


class _Journal:
    full = False


class _Intake(Intake):
    """Places an order once it is told how that ends."""

    def __init__(self) -> None:
        self.journal = _Journal()
        self.database = SimpleNamespace(given_up=False)
        super().__init__(cast("Any", self.database), cast("Any", self.journal), deadline_s=4, under_way_max=100)
        self.delays: list[float] = []
        self.ends: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
        self._limit = cast("Any", SimpleNamespace(limit=100, answered=lambda delay_s, *_: self.delays.append(delay_s)))

    async def _place(self, order: Order, deadline: Deadline) -> Placement:
        return await asyncio.shield(self.ends)

    def give_up_the_journal(self) -> None:
        self._journal_promptness.failed(time.monotonic() - 2 * GIVEN_UP_S)


def test_an_order_that_joins_another_under_way_is_not_measured() -> None:
    """Of two callers with one order the first one's time counts, once: a repeat came later and waited less."""

    async def go() -> list[float]:
        intake = _Intake()
        first = asyncio.create_task(intake.place(ORDER))
        await asyncio.sleep(SLOW_S)
        repeat = asyncio.create_task(intake.place(ORDER))
        await asyncio.sleep(0)
        intake.ends.set_result(Placement(ORDER, False, "confirmed", b""))
        await asyncio.gather(first, repeat)
        return intake.delays

    [delay_s] = asyncio.run(go())
    assert delay_s >= SLOW_S


@pytest.mark.parametrize(("waits_s", "measured"), [(0.0, 0), (SLOW_S, 1)])
def test_a_failure_is_measured_only_where_it_was_late(waits_s: float, measured: int) -> None:
    """A refusal at once does not make a process quick; an order that fails late was late."""

    async def go() -> list[float]:
        intake = _Intake()
        placing = asyncio.create_task(intake.place(ORDER))
        await asyncio.sleep(waits_s)
        intake.ends.set_exception(IntakeUnavailable("neither"))
        await asyncio.gather(placing, return_exceptions=True)
        return intake.delays

    assert len(asyncio.run(go())) == measured


def test_orders_are_refused_where_neither_database_nor_journal_is_prompt() -> None:
    """With one of them given up an order is tried, with both it is refused at once."""

    async def go() -> None:
        intake = _Intake()
        intake.give_up_the_journal()
        intake.require_room(ORDER.client_id)
        intake.database.given_up = True
        with pytest.raises(IntakeUnavailable):
            intake.require_room(ORDER.client_id)
        intake.journal.full = True
        with pytest.raises(JournalFull):
            intake.require_room(ORDER.client_id)
        other = _Intake()
        other.database.given_up = True
        other.require_room(ORDER.client_id)

    asyncio.run(go())
