"""Readiness: draining, starting, or an event loop that is late."""

from __future__ import annotations

import asyncio
import time

from standfest.interfaces.api.readiness import BEAT_INTERVAL_S, Readiness
from tests.support.waiting import wait_until


async def test_a_loop_that_was_blocked_is_late_until_it_answers_again() -> None:
    """The watching thread sees that the loop hangs while it hangs, and that it is well afterwards."""
    readiness = Readiness(0.2, lambda: False)
    readiness.watch()
    try:
        await asyncio.sleep(0)
        time.sleep(BEAT_INTERVAL_S + 0.6)  # noqa: ASYNC251 (the block is what is tested)
        assert readiness.reason is not None
        await asyncio.to_thread(wait_until, lambda: readiness.reason is None, "the loop is well again", 5)
    finally:
        await readiness.stop()


async def test_once_late_it_is_asked_more_often() -> None:
    """A loop that was late for once is well again long before the next ordinary question."""
    readiness = Readiness(0.2, lambda: False)
    readiness.watch()
    try:
        for _ in range(3):
            time.sleep(BEAT_INTERVAL_S + 0.6)  # noqa: ASYNC251 (the block is what is tested)
            assert readiness.reason is not None
            await asyncio.to_thread(wait_until, lambda: readiness.reason is None, "the loop is well again", 5)
    finally:
        await readiness.stop()


def test_a_process_that_has_started_is_never_starting_again() -> None:
    """What it began with may get lost later: that is for each request to find out, and takes nobody from the doors."""
    starting = [True, True, False, True]
    readiness = Readiness(1, lambda: starting.pop(0))
    assert [readiness.reason for _ in range(5)] == ["starting", "starting", None, None, None]


def test_a_process_that_starts_or_drains_wants_no_traffic() -> None:
    """Both are reasons of their own."""
    ready, starting = Readiness(1, lambda: False), Readiness(1, lambda: True)
    assert (ready.reason, starting.reason) == (None, "starting")
    ready.draining = True
    assert ready.reason == "draining"
