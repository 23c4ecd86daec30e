"""How many requests of a replay are under way."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from standfest.clients.attempts import Verdict
from standfest.emergency.drills.replay.window import Window


def test_trouble_halves_it_once_a_crowd() -> None:
    """Reports of the same moment count once, later ones again, and one request is always allowed."""
    window = Window(16)
    for now in (0.0, 0.1, 0.2):
        window.report(Verdict.NOT_ATTEMPTED, now)
    assert window.size == 8
    window.report(None, 1.0)
    assert window.size == 4
    for now in range(2, 10):
        window.report(Verdict.AMBIGUOUS, float(now))
    assert window.size == 1


def test_answers_widen_it_again() -> None:
    """A window's worth of answers widens it by about one, up to the highest."""
    window = Window(4)
    window.report(Verdict.AMBIGUOUS, 0.0)
    for _ in range(3):
        window.report(Verdict.DONE, 0.0)
    assert window.size == 3
    for _ in range(100):
        window.report(Verdict.REFUSED, 0.0)
    assert window.size == 4


@given(st.lists(st.sampled_from([*Verdict, None])), st.integers(1, 64))
def test_its_bounds(verdicts: list[Verdict | None], highest: int) -> None:
    """Whatever is reported, the size stays between one and the highest."""
    window = Window(highest)
    for moment, verdict in enumerate(verdicts):
        window.report(verdict, float(moment))
        assert 1 <= window.size <= highest


async def test_no_more_are_inside() -> None:
    """Never more are inside than the size, those who wait get in by turns, and everybody does."""
    window = Window(3)
    inside: list[int] = []
    most = 0

    async def one(number: int) -> None:
        nonlocal most
        async with window:
            inside.append(number)
            most = max(most, len(inside))
            await asyncio.sleep(0)
            inside.remove(number)

    await asyncio.gather(*(one(number) for number in range(50)))
    assert most == 3
    assert not inside


async def test_a_smaller_window_lets_nobody_in_until_it_is_emptier() -> None:
    """After trouble those inside go on, and the next one waits until fewer than the new size are left."""
    window = Window(2)
    await window.__aenter__()
    await window.__aenter__()
    window.report(Verdict.NOT_ATTEMPTED, 0.0)
    third = asyncio.create_task(window.__aenter__())
    await asyncio.sleep(0)
    await window.__aexit__(None, None, None)
    await asyncio.sleep(0)
    assert not third.done()
    await window.__aexit__(None, None, None)
    await asyncio.wait_for(third, 60)


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    """A waiter that is cancelled, before its turn or right at it, takes no place away."""
    window = Window(1)
    await window.__aenter__()
    before, at_its_turn = (asyncio.create_task(window.__aenter__()) for _ in range(2))
    await asyncio.sleep(0)
    before.cancel()
    await asyncio.sleep(0)
    await window.__aexit__(None, None, None)
    at_its_turn.cancel()
    await asyncio.gather(before, at_its_turn, return_exceptions=True)
    await asyncio.wait_for(window.__aenter__(), 60)
