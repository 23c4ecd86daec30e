"""Orders whose clients got no definite answer are noted for the audit, and no other ones."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from standfest.intake.errors import IntakeOutcomeUnknown, IntakeUnavailable, JournalFull, KeyReused, Overloaded
from standfest.interfaces.api import orders
from standfest.interfaces.api.services import Services
from standfest.storage.deadline import Deadline

ORDER_ID = UUID(int=7)


class _FailingIntake:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def place(self, _order: object, _deadline: object) -> None:
        raise self._error


def noted(error: BaseException) -> list[UUID]:
    """What is noted where placing ends with an error."""
    notes: list[UUID] = []
    services = SimpleNamespace(intake=_FailingIntake(error), note_unanswered=notes.append)
    order = cast("Any", SimpleNamespace(order_id=ORDER_ID))
    with pytest.raises(type(error)):
        asyncio.run(orders._place(cast("Services", services), order, Deadline.after(5)))
    return notes


@pytest.mark.parametrize("error", [IntakeOutcomeUnknown("no yes"), RuntimeError("a fault of ours")])
def test_an_order_that_may_be_stored_is_noted(error: Exception) -> None:
    """No answer in time, and whatever else ends the attempt without saying that nothing was stored."""
    assert noted(error) == [ORDER_ID]


@pytest.mark.parametrize(
    "error", [IntakeUnavailable("away"), JournalFull("full"), KeyReused(UUID(int=8)), Overloaded("too many")]
)
def test_an_order_that_was_refused_is_not_noted(error: Exception) -> None:
    """A definite refusal leaves no order behind."""
    assert noted(error) == []
