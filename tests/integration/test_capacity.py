"""A door gives an API process as many orders at a time as that wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from standfest.interfaces.api.capacity import OF_A_DOOR_MAX, told_capacity
from standfest.interfaces.api.server import listen
from tests.support.one_door import OneDoor, free_port, one_door
from tests.support.plain_client import send_open_loop
from tests.support.waiting import wait_until
from tests.support.wanting import Wanting, running

ADDRESSES = ["127.0.36.1", "127.0.36.2", "127.0.36.3"]
TIMEOUT_S = 20.0


async def test_a_door_follows_what_an_api_process_wants(tmp_path: Path) -> None:
    """It gives what it was told last, fewer and more, also once nobody tells it any more; others get the most."""
    listener, limit = listen(ADDRESSES[0], 0), 20
    with one_door(tmp_path, ADDRESSES, free_port(ADDRESSES[0]), listener.getsockname()[1]) as door:

        async def given(number: int) -> None:
            def is_given() -> bool:
                try:
                    return (door.orders_at_a_time("n1-api"), door.weight("n1-api")) == (number, number)
                except httpx.TransportError:  # it is about to listen
                    return False

            await asyncio.to_thread(wait_until, is_given, f"the door gives {number}", TIMEOUT_S)

        async with told_capacity(listener, lambda: limit, doors=1):
            await given(20)
            limit = 3
            await given(3)
            limit = 10
            await given(10)
        assert door.orders_at_a_time("n1-api") == 10
        assert door.orders_at_a_time("n2-api") == door.weight("n2-api") == OF_A_DOOR_MAX


@contextlib.asynccontextmanager
async def told(directory: Path, processes: list[Wanting]) -> AsyncIterator[OneDoor]:
    """A door in front of these processes that knows what each wants, also where it finds none in time."""
    port, capacity_port = free_port(ADDRESSES[0]), free_port(ADDRESSES[0])
    servers = {
        f"{kind}n{number}-api": process.wants
        for number, process in enumerate(processes, start=1)
        for kind in ("", "any-")
    }

    def knows() -> bool:
        try:
            return {name: door.orders_at_a_time(name) for name in servers} == servers
        except httpx.TransportError:  # it is about to listen
            return False

    with one_door(directory, ADDRESSES, port, capacity_port) as door:
        async with running(processes, port, capacity_port):
            await asyncio.to_thread(wait_until, knows, "the door knows what they want", TIMEOUT_S)
            yield door


async def test_late_processes_get_no_more_than_they_want(tmp_path: Path) -> None:
    """Where all are too late for the doors' checks, and tell as late what they want, they get that many orders."""
    processes = [Wanting(address, wants=5, order_s=0.3, late_s=0.6) for address in ADDRESSES]
    async with told(tmp_path, processes) as door:

        def late() -> bool:
            states = door.states()
            return all(states[f"n{number}-api"].startswith("DOWN") for number in (1, 2, 3))

        await asyncio.to_thread(wait_until, late, "all are late", TIMEOUT_S)
        seen = await send_open_loop([door.address], 40, 1)
    assert set(seen.statuses) == {200}
    assert [process.most for process in processes] == [5, 5, 5]


async def test_clients_that_send_without_end_leave_places_to_others(tmp_path: Path) -> None:
    """Two clients send three times what three processes take that want few orders; a third one gets nearly all of its
    own placed, where it got one in twenty."""
    processes = [Wanting(address, wants=8, order_s=0.5) for address in ADDRESSES]
    async with told(tmp_path, processes) as door:
        many = [
            asyncio.create_task(send_open_loop([door.address], 75, 4, client=name, prefix=name))
            for name in ("hasty", "restless")
        ]
        await asyncio.sleep(1)
        modest = await send_open_loop([door.address], 5, 3, client="modest", prefix="modest")
        crowds = [await each for each in many]
    assert modest.statuses[200] >= 12
    assert sum(modest.statuses.values()) == 15
    assert all(set(crowd.statuses) == {200, 429} for crowd in crowds)


async def test_no_order_waits_beside_free_places(tmp_path: Path) -> None:
    """Where processes want different numbers of orders, as many as all of them want find a place at once, but for a few
    by chance."""
    processes = [Wanting(address, wants=wants, order_s=3) for address, wants in zip(ADDRESSES, (8, 8, 64), strict=True)]
    async with told(tmp_path, processes) as door:
        seen = await send_open_loop([door.address], 200, 0.4)
        assert door.queued_at_most() <= 10
    assert seen.statuses == {200: 80}
