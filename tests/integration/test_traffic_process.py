"""The process that sends a drill's orders, against an order API in memory."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from standfest.emergency.drills.checker.submissions import load
from standfest.emergency.drills.running_traffic import TrafficBroke, traffic
from standfest.emergency.drills.traffic.prepare import TrafficNotReady
from standfest.emergency.drills.traffic_process import Traffic
from tests.support.fake_api import FakeApi, problem, serving

DEADLINE_S = 30.0
ORDERS = 20


def given(doors: Sequence[str], history: Path) -> Traffic:
    """What is to be sent."""
    return Traffic(list(doors), "demo", "key", str(history), "r1", rate_per_s=100.0, deadline_s=2.0)


def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition, in a thread of its own."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def test_it_sends_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """Orders flow from the word go until the word stop, and the history has every one with its answer."""
    api, path = FakeApi(), tmp_path / "drill.jsonl"
    async with serving(api) as doors, asyncio.timeout(DEADLINE_S), traffic(given(doors, path)) as running:
        assert api.products
        assert not api.orders
        running.go()
        await running.first_acknowledged(DEADLINE_S)
        await asyncio.to_thread(until, lambda: running.counts["ok"] >= ORDERS)
        await running.finish()
    history = load(path)
    assert history.gaps == []
    assert history.opening_stock
    assert len(history.submissions) + len(history.cancellations) == running.counts["invoke"] >= ORDERS


async def test_it_ends_with_the_drill(tmp_path: Path) -> None:
    """A drill that gives up leaves no process behind that goes on sending."""
    api = FakeApi()
    async with serving(api) as doors, asyncio.timeout(DEADLINE_S):
        async with traffic(given(doors, tmp_path / "drill.jsonl")) as running:
            running.go()
            await running.first_acknowledged(DEADLINE_S)
        assert running.ended
        sent = api.requests
        await asyncio.sleep(0.2)
        assert api.requests == sent


async def test_what_cannot_be_sold_is_not_sent(tmp_path: Path) -> None:
    """Where catalogue and stock cannot be prepared, no order is sent, and the reason is told."""
    api = FakeApi()

    async def refuse(_request: web.Request, _number: int) -> web.Response:
        return problem(403, "forbidden")

    api.hook = refuse
    async with serving(api) as doors, asyncio.timeout(DEADLINE_S):
        with pytest.raises(TrafficNotReady, match="could not put its products"):
            async with traffic(given(doors, tmp_path / "drill.jsonl")):
                pass
    assert not api.orders


async def test_a_sender_that_dies_is_noticed(tmp_path: Path) -> None:
    """A sender that is killed, as the kernel does when memory runs out, leaves a history that proves nothing."""
    path = tmp_path / "drill.jsonl"
    async with serving(FakeApi()) as doors, asyncio.timeout(DEADLINE_S), traffic(given(doors, path)) as running:
        running.go()
        await running.first_acknowledged(DEADLINE_S)
        os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(TrafficBroke, match="ended with -9"):
            await running.finish()
    assert load(path).gaps
