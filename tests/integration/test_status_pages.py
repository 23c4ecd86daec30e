"""What processes that take no orders say of themselves."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from standfest.interfaces.status_pages import AddressTaken, status_pages

ADDRESS = ("127.0.25.2", 18010)


async def test_a_process_says_that_it_lives_and_what_it_measured() -> None:
    """/livez, /metrics and a document of its own are answered for as long as the block lasts, and not after."""
    registry = CollectorRegistry()
    Counter("rounds", "Rounds", registry=registry).inc()
    async with aiohttp.ClientSession(base_url=f"http://{ADDRESS[0]}:{ADDRESS[1]}") as http:
        async with status_pages(registry, *ADDRESS, {"/v1/what": lambda: {"is": "so"}}):
            async with http.get("/livez") as answer:
                assert (answer.status, await answer.json()) == (200, {"status": "alive"})
            async with http.get("/metrics") as answer:
                assert "rounds_total 1.0" in await answer.text()
            async with http.get("/v1/what") as answer:
                assert await answer.json() == {"is": "so"}
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get("/livez")


async def test_an_address_that_is_taken_is_named() -> None:
    """A process that cannot listen ends with one sentence that says where."""
    with socket.create_server(ADDRESS), pytest.raises(AddressTaken, match=f"{ADDRESS[0]}:{ADDRESS[1]}"):
        async with status_pages(CollectorRegistry(), *ADDRESS):
            pass
