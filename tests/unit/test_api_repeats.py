"""Whoever waits for a look at orders that were placed before is told what it failed with, whatever that is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from standfest.intake.direct import Placement
from standfest.interfaces.api import repeats
from standfest.interfaces.api.repeats import LOOK_MAX, Repeats
from standfest.interfaces.api.services import Services

BROKEN = UUID(int=7)
ORDER_IDS = [UUID(int=number) for number in range(2 * LOOK_MAX)]


class _NothingHeld:
    async def find(self, _order_ids: Sequence[UUID], _deadline_s: float) -> dict[UUID, object]:
        return {}


class _Database:
    @contextlib.asynccontextmanager
    async def write(self, _deadline_s: float) -> AsyncIterator[None]:
        yield


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Sequence[UUID]], None]], Repeats]:
    """Looks at a database that holds no order, where reading may fail."""

    def of(reading: Callable[[Sequence[UUID]], None]) -> Repeats:
        async def read(_connection: object, order_ids: Sequence[UUID]) -> dict[UUID, Placement]:
            reading(order_ids)
            await asyncio.sleep(0)
            return {}

        monkeypatch.setattr(repeats, "read_placements", read)
        monkeypatch.setattr(repeats, "require_database", lambda _: None)
        limits = SimpleNamespace(read_deadline_s=1.0, write_deadline_s=1.0)
        services = SimpleNamespace(intake=_NothingHeld(), database=_Database(), limits=limits)
        return Repeats(cast("Services", services))

    return of


async def all_found(looking: Repeats, order_ids: Sequence[UUID]) -> list[Any]:
    """What each who asks is told; nobody waits for longer than some seconds."""
    async with asyncio.timeout(60):
        return await asyncio.gather(*(looking.find(each) for each in order_ids), return_exceptions=True)


async def test_an_order_that_cannot_be_read_spoils_no_other(
    looks: Callable[[Callable[[Sequence[UUID]], None]], Repeats],
) -> None:
    """All who ask for it are told, those of the same look and of the next one get their answers."""

    def reading(order_ids: Sequence[UUID]) -> None:
        if BROKEN in order_ids:
            raise KeyError(BROKEN)

    told = dict(enumerate(await all_found(looks(reading), [BROKEN, *ORDER_IDS])))
    failed = [number for number, answer in told.items() if answer is not None]
    assert failed == [0, 1 + ORDER_IDS.index(BROKEN)]
    assert all(isinstance(told[number], KeyError) for number in failed)


async def test_nobody_hangs_where_every_look_fails(
    looks: Callable[[Callable[[Sequence[UUID]], None]], Repeats],
) -> None:
    """Those who wait for the next look are told as well, and a later one is answered once it can be."""
    fails = True

    def reading(_order_ids: Sequence[UUID]) -> None:
        if fails:
            raise IndexError("no events")

    looking = looks(reading)
    told = await all_found(looking, ORDER_IDS)
    assert {type(answer) for answer in told} == {IndexError}
    fails = False
    assert await all_found(looking, ORDER_IDS[:1]) == [None]


async def test_whoever_waits_is_cancelled_with_the_looks(
    looks: Callable[[Callable[[Sequence[UUID]], None]], Repeats],
) -> None:
    """Where the process ends during a look, those of that look and of the next one wait no longer."""
    started = asyncio.Event()
    looking = looks(lambda _: started.set())
    asking = [asyncio.create_task(looking.find(each)) for each in ORDER_IDS]
    async with asyncio.timeout(60):
        await started.wait()
        assert looking._looking is not None
        looking._looking.cancel()
        told = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in told} == {asyncio.CancelledError}
