"""What a process knows of those who wait in the journal where a look at it fails."""

import asyncio
import time
from typing import Any, cast

import pytest

from standfest.clients.etcd_kv import EtcdUnavailable
from standfest.intake.backlog_view import LATE_S, BacklogView
from standfest.intake.demand import Demand
from standfest.intake.journal import Backlog


class _Journal:
    """Tells that one order waits since before the first look, and then nothing more."""

    def __init__(self, accepted_s_ago: float) -> None:
        self.accepted_at = time.monotonic() - accepted_s_ago
        self.tells = True

    async def backlog(self, *_: object, **__: object) -> Backlog:
        if not self.tells:
            raise EtcdUnavailable("no answer in time")
        return Backlog(1, None, 7, 7, Demand(), 0, 0)


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
