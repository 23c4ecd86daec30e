"""What a process knows of those who wait in the journal: where a look at it fails, and while they are many."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from standfest.clients.etcd_kv import EtcdUnavailable
from standfest.intake.backlog_view import LATE_S, BacklogView
from standfest.intake.demand import UNKNOWN_ENTRIES, Demand
from standfest.intake.journal import LOOK_ENTRIES_MAX, Backlog
from standfest.intake.paths import BACKLOG_AGE_MAX_S


class _Journal:
    """Tells how many wait, of which none came since it was drained up to a revision."""

    def __init__(self, accepted_s_ago: float = 0.0) -> None:
        self.accepted_at = time.monotonic() - accepted_s_ago
        self.tells = True
        self.waiting, self.drained = 1, 7
        self.read: list[int] = []

    async def backlog(self, *_: object, read_max: int, certain: bool = False) -> Backlog:
        if not self.tells:
            raise EtcdUnavailable("no answer in time")
        self.read.append(read_max)
        return Backlog(self.waiting, None, 7, self.drained, Demand(unread=self.waiting), 0, 0)


def age_after_a_failed_look(accepted_s_ago: float, *, looked_before: bool = True) -> tuple[float | None, float | None]:
    """What is known after a look that failed, and what the look itself said."""

    async def go() -> tuple[float | None, float | None]:
        journal = _Journal(accepted_s_ago)
        view = BacklogView(cast("Any", journal))
        if looked_before:
            assert await view.age_at_most_s() is not None
        journal.tells = False
        return await view.age_at_most_s(), await view.age_s()

    return asyncio.run(go())


def test_a_late_look_at_a_journal_that_takes_orders_says_that_they_wait_on() -> None:
    """Nobody goes back to the direct path, past those who wait, because a busy machine did not answer a look."""
    known, told = age_after_a_failed_look(0.0)
    assert told is None
    assert known is not None
    assert known >= 0


@pytest.mark.parametrize(("accepted_s_ago", "looked_before"), [(LATE_S + 1, True), (0.0, False)])
def test_a_journal_that_takes_nothing_holds_nobody(accepted_s_ago: float, looked_before: bool) -> None:
    """Where the journal is away nobody can go behind those who wait; where nothing was seen, none is known to."""
    known, _ = age_after_a_failed_look(accepted_s_ago, looked_before=looked_before)
    assert known is None


def test_what_those_want_who_wait_is_read_before_new_orders_go_directly() -> None:
    """While many wait for too long their entries are not read; in the look that finds them young, or few, they are."""

    async def go(then: Callable[[_Journal], None]) -> list[int]:
        journal = _Journal()
        journal.waiting, journal.drained = 1_000, 6
        view = BacklogView(cast("Any", journal))
        ages = [await view.age_at_most_s() for _ in range(3)]
        assert None not in ages
        assert min(age for age in ages if age is not None) >= BACKLOG_AGE_MAX_S
        then(journal)
        await view.age_at_most_s()
        return journal.read

    def young(journal: _Journal) -> None:
        journal.drained = 7

    def few(journal: _Journal) -> None:
        journal.waiting = LOOK_ENTRIES_MAX

    for then in (young, few):
        assert asyncio.run(go(then)) == [LOOK_ENTRIES_MAX, 0, 0, 0, LOOK_ENTRIES_MAX]


@pytest.mark.parametrize(("accepted_s_ago", "unread"), [(0.0, UNKNOWN_ENTRIES), (LATE_S + 1, 0)])
def test_a_late_look_gives_away_no_goods_of_those_who_wait(accepted_s_ago: float, unread: int) -> None:
    """Where the journal took orders a moment ago what they want is kept, and asked for it may be anything."""

    async def go() -> tuple[Demand, Demand]:
        journal = _Journal(accepted_s_ago)
        view = BacklogView(cast("Any", journal))
        await view.age_s()
        journal.tells = False
        await view.age_s()
        return view.demand, await view.ask()

    known, asked = asyncio.run(go())
    assert (known.unread, asked.unread) == (1 if unread else 0, unread)


def test_drainers_stand_as_long_as_looks_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time counts from when nothing waited, or something was drained, until the last look that succeeded."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    async def go() -> list[float]:
        nonlocal now
        journal = _Journal()
        view = BacklogView(cast("Any", journal))
        said = []
        for waiting, drained, tells in ((0, 7, True), (5, 7, True), (5, 7, False), (5, 8, True), (5, 8, True)):
            now += 10
            journal.waiting, journal.drained, journal.tells = waiting, drained, tells
            await view.age_s()
            said.append(view.standing_s)
        return said

    assert asyncio.run(go()) == [0, 10, 10, 0, 10]
