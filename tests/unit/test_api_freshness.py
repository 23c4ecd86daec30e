"""How old requests are taken to be: by a process's own clock, and by the doors' clocks, which may be wrong."""

from __future__ import annotations

import asyncio
import time
from itertools import count

from standfest.interfaces.api.asgi import Scope
from standfest.interfaces.api.freshness import DoorClocks, Freshness, Standstill

DOOR = "127.0.0.1"
CHECK_S = 0.2


def test_a_request_that_came_late_is_old_however_wrong_the_doors_clock_is() -> None:
    """Against a door whose clock is an hour ahead, right, or an hour behind: quick requests are new, and one that a
    network held for 20 s is 20 s old."""
    for ahead_s in (3_600.0, 0.0, -3_600.0):
        clocks = DoorClocks()

        def age_s(now: float, transit_s: float, ahead_s: float = ahead_s, clocks: DoorClocks = clocks) -> float:
            return clocks.age_s(DOOR, b"%d" % ((1_800_000_000 + ahead_s + now - transit_s) * 1000), now)

        assert all(age_s(1 + number * CHECK_S, 0.001) < 0.01 for number in range(100))
        assert 19.9 < age_s(60, 20.001) < 20.1


def test_a_door_whose_clock_is_set_back_is_believed_again_within_seconds() -> None:
    """After a jump of a door's clock by an hour, forth or back, its requests count as new within three seconds."""
    for jump_s in (3_600.0, -3_600.0):
        clocks = DoorClocks()
        ages = []
        for number in range(100):
            now = number * CHECK_S
            wall_s = 1_800_000_000 + now + (jump_s if number >= 50 else 0)
            ages.append(clocks.age_s(DOOR, b"%d" % (wall_s * 1000), now))
        assert max(ages[:50] + ages[65:]) < 0.01


def test_what_lay_in_a_frozen_process_does_not_count_as_quick() -> None:
    """Hundreds of old requests that are read at once, after a freeze, stay old until they are answered."""
    clocks = DoorClocks()
    for number in range(50):
        clocks.age_s(DOOR, b"%d" % ((1_000 + number * CHECK_S) * 1000), number * CHECK_S)
    woke = 60.0
    ages = [
        clocks.age_s(DOOR, b"%d" % ((1_000 + 10 + number / 100) * 1000), woke + number / 1e6) for number in range(300)
    ]
    assert min(ages) > 46


def test_what_no_door_says_is_no_age() -> None:
    """A header that is no time, and the first of a machine, say nothing."""
    clocks = DoorClocks()
    said = (b"", b"-1", b"later", b"9" * 16, b"0", b"999999999999999")
    assert [clocks.age_s(f"10.0.0.{host}", text, 5.0) for host, text in zip(count(1), said, strict=False)] == [0.0] * 6


def test_machines_are_forgotten_when_there_are_many() -> None:
    """However many machines send the header, few are remembered."""
    clocks = DoorClocks()
    for number in range(1_000):
        clocks.age_s(str(number), b"1000", 1.0)
    assert len(clocks._ways) <= 64


def _scope() -> Scope:
    return {"type": "http", "client": (DOOR, 1)}


async def test_a_change_that_came_before_the_process_stood_still_is_too_old() -> None:
    """Of two requests, the one that came before the loop stood still may not be carried out, whenever it is looked at,
    and the one that comes once it turns again may."""
    freshness = Freshness(0.3)
    freshness.standstill.watch()
    try:
        before, after = _scope(), _scope()
        freshness.note(before, None)
        deadline = freshness.change_deadline(before, 60)
        assert deadline.remaining_s > 50
        time.sleep(0.5)  # noqa: ASYNC251 (the standing still is what is tested)
        assert (deadline.passed, freshness.order_deadline(before, 60).passed) == (True, False)
        await asyncio.sleep(0.6)
        freshness.note(after, None)
        assert deadline.passed
        assert not freshness.change_deadline(after, 60).passed
    finally:
        freshness.standstill.stop()


async def test_what_is_read_after_a_standstill_may_have_come_before() -> None:
    """A request that is begun right after the loop stood still counts as one that was there before."""
    freshness = Freshness(0.3)
    freshness.standstill.watch()
    try:
        time.sleep(0.5)  # noqa: ASYNC251 (the standing still is what is tested)
        scope = _scope()
        freshness.note(scope, None)
        await asyncio.sleep(0)
        assert freshness.change_deadline(scope, 60).passed
    finally:
        freshness.standstill.stop()


def test_where_nothing_is_watched_nothing_stands_still() -> None:
    """Without a loop that is watched, only the deadline itself counts."""
    standstill = Standstill(0.1)
    assert not standstill.since(0.0)
