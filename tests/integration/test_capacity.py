"""A door gives an API process as many orders at a time as that wants."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from standfest.interfaces.api.capacity import OF_A_DOOR_MAX, told_capacity
from standfest.interfaces.api.server import listen
from tests.support.one_door import free_port, one_door
from tests.support.waiting import wait_until

ADDRESSES = ["127.0.36.1", "127.0.36.2", "127.0.36.3"]
TIMEOUT_S = 20.0


async def test_a_door_follows_what_an_api_process_wants(tmp_path: Path) -> None:
    """It gives what it was told last, fewer and more, also once nobody tells it any more; others get the most."""
    listener, limit = listen(ADDRESSES[0], 0), 20
    with one_door(tmp_path, ADDRESSES, free_port(ADDRESSES[0]), listener.getsockname()[1]) as door:

        async def given(number: int) -> None:
            def is_given() -> bool:
                try:
                    return door.orders_at_a_time("n1-api") == number
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
        assert door.orders_at_a_time("n2-api") == OF_A_DOOR_MAX
