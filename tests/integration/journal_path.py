"""An intake, a journal and drainers, for tests of what goes through the journal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import msgspec

from standfest.clients.packed import unpack
from standfest.domain.orders import Order, content_hash, line_net, totals
from standfest.intake.drain import Drainer
from standfest.intake.entries import encode_entry
from standfest.intake.intake import DIRECT_FLIGHTS, Intake
from standfest.intake.journal import Accepted, Journal
from standfest.intake.paths import Path
from standfest.storage.database import Database
from standfest.storage.orders import read_orders

SIZE_MAX = 2**29


@contextlib.asynccontextmanager
async def running(pool: Database, journal: Journal, deadline_s: float = 4.0) -> AsyncIterator[Intake]:
    """An intake that finds its way back, on connections of its own."""
    orders = pool.beside(DIRECT_FLIGHTS + 1)
    intake = Intake(orders, journal, deadline_s=deadline_s, under_way_max=300)
    loop = asyncio.create_task(intake.run())
    try:
        yield intake
    finally:
        loop.cancel()
        await orders.close()


async def accept(journal: Journal, *orders: Order) -> None:
    """Puts orders into the journal, one after the other."""
    for each in orders:
        entry = msgspec.structs.replace(each, status="accepted", path="journal")
        [accepted] = await journal.accept([entry], 5)
        assert isinstance(accepted, Accepted)


def kept(order: Order) -> dict[str, Any]:
    """The JSON object that the journal keeps of an order, to be changed."""
    document: dict[str, Any] = msgspec.json.decode(unpack(encode_entry(order)))
    return document


async def drain(pool: Database, journal: Journal) -> Drainer:
    """Drains all that can be drained."""
    drainer = Drainer(pool, journal)
    while await drainer.round():
        pass
    return drainer


async def stored(pool: Database, order_id: UUID) -> Order:
    """The order as the database has it."""
    async with pool.read(5) as connection:
        return (await read_orders(connection, [order_id]))[order_id]


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds that nobody tells of; TimeoutError after a minute."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it is polled on purpose, as health does
            await asyncio.sleep(0.02)


async def eventually_direct(intake: Intake) -> None:
    """Waits until new orders take the direct path."""
    await eventually(lambda: intake.path is Path.DIRECT)


def priced(wanted: Order, unit_price: str) -> Order:
    """The same request agreed at another price."""
    price = msgspec.convert(unit_price, type(wanted.lines[0].unit_price), strict=False)
    lines = tuple(
        msgspec.structs.replace(line, unit_price=price, net=line_net(line.quantity, line.unit_decimals, price))
        for line in wanted.lines
    )
    sums = totals(lines)
    hashed = content_hash(wanted.currency, wanted.agreed, lines, sums)
    return msgspec.structs.replace(wanted, lines=lines, totals=sums, content_hash=hashed)
