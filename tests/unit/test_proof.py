"""Who shares a proof, which one counts, and who is refused while there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from standfest.storage.connection import Host
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.storage.proof import PATIENCE_FIRST_S, PATIENCE_MAX_S, Outcome, Prover, Reign

HERE = Reign(Host("127.0.0.1", 1), b"1")
RESTARTED = Reign(Host("127.0.0.1", 1), b"2")
ELSEWHERE = Reign(Host("127.0.0.2", 1), b"1")


class _Commits:
    """Commits that end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[Reign]] = []
        self.patience_s: list[float] = []
        self.prover = Prover(self._commit, self._close)

    async def _commit(self, patience_s: float) -> Reign:
        self.patience_s.append(patience_s)
        self.begun.append(asyncio.get_running_loop().create_future())
        return await self.begun[-1]

    async def _close(self) -> None: ...

    async def until(self, condition: Callable[[], bool]) -> None:
        """Lets the others go on until it holds."""
        for _ in range(100):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never held")

    async def outcome(self, *ends: Reign | Exception) -> Outcome:
        """Asks, ends the commits that are begun in turn, and gives what came of it."""
        asked = self.prover.ask()
        for end in ends:
            count = len(self.begun)
            await self.until(lambda: bool(self.begun) and not self.begun[-1].done())
            assert len(self.begun) in (count, count + 1)
            if isinstance(end, Exception):
                self.begun[-1].set_exception(end)
            else:
                self.begun[-1].set_result(end)
            await asyncio.sleep(0)
        return await asked


async def test_a_commit_proves_what_was_asked_before_it_was_sent() -> None:
    """Who asks while a commit is under way waits for the next one, together with all who ask meanwhile."""
    commits = _Commits()
    first = commits.prover.ask()
    await commits.until(lambda: len(commits.begun) == 1)
    second, third = commits.prover.ask(), commits.prover.ask()
    assert second is third is not first
    commits.begun[0].set_result(HERE)
    await commits.until(lambda: len(commits.begun) == 2)
    assert first.result() == HERE
    assert not second.done()
    commits.begun[1].set_result(HERE)
    assert await second == HERE
    assert len(commits.begun) == 2


@pytest.mark.parametrize("elsewhere", [RESTARTED, ELSEWHERE])
async def test_a_commit_of_another_server_proves_nothing(elsewhere: Reign) -> None:
    """A server that was started anew may have come back as another history, whatever address it has."""
    commits = _Commits()
    asked = commits.prover.ask()
    await commits.until(lambda: len(commits.begun) == 1)
    commits.begun[0].set_result(elsewhere)
    with pytest.raises(DatabaseUnavailable, match="primary no more"):
        await commits.prover.require(asked, HERE, Deadline.after(10))
    await commits.prover.require(asked, elsewhere, Deadline.after(10))


async def test_a_connection_that_was_broken_is_tried_once_more() -> None:
    """One failure alone fails nobody; two do, and are said to who asked."""
    commits = _Commits()
    assert await commits.outcome(DatabaseUnavailable("broken"), HERE) == HERE
    outcome = await commits.outcome(DatabaseUnavailable("broken"), OutcomeUnknown("no answer"))
    assert isinstance(outcome, OutcomeUnknown)


async def test_a_failure_of_any_kind_is_told_and_the_next_commit_is_made() -> None:
    """A fault of ours leaves nobody waiting: who asked is told, and who asked meanwhile gets the next commit."""
    commits = _Commits()
    first = commits.prover.ask()
    await commits.until(lambda: len(commits.begun) == 1)
    second = commits.prover.ask()
    commits.begun[0].set_exception(KeyError("a fault"))
    await commits.until(lambda: len(commits.begun) == 2)
    commits.begun[1].set_exception(KeyError("a fault"))
    await commits.until(lambda: len(commits.begun) == 3)
    with pytest.raises(DatabaseUnavailable, match="a fault"):
        await commits.prover.require(first, HERE, Deadline.after(10))
    commits.begun[2].set_result(HERE)
    await commits.prover.require(second, HERE, Deadline.after(10))


async def test_patience_grows_while_commits_fail_and_is_bounded() -> None:
    """A database that is only slow is given the time that it needs, and one that is away not for ever."""
    commits = _Commits()
    for _ in range(5):
        await commits.outcome(OutcomeUnknown("no answer"), OutcomeUnknown("no answer"))
    assert commits.patience_s[0] == pytest.approx(PATIENCE_FIRST_S, abs=0.5)
    assert commits.patience_s[-2] == pytest.approx(PATIENCE_MAX_S, abs=0.5)
    await commits.outcome(HERE)
    await commits.outcome(HERE)
    assert commits.patience_s[-1] == pytest.approx(PATIENCE_FIRST_S, abs=0.5)


async def test_while_it_is_away_one_read_at_a_time_finds_out() -> None:
    """All others are refused at once; where it is well, nobody is."""
    commits = _Commits()
    prover = commits.prover
    with prover.admitted(lost=False), prover.admitted(lost=False):
        pass
    await commits.outcome(OutcomeUnknown("no answer"), OutcomeUnknown("no answer"))
    with prover.admitted(lost=False):
        with pytest.raises(DatabaseUnavailable), prover.admitted(lost=False):
            pass
        await commits.outcome(HERE)
        with prover.admitted(lost=False):
            pass
        with pytest.raises(DatabaseUnavailable), prover.admitted(lost=True):
            pass


async def test_who_waits_when_the_process_ends_has_no_proof() -> None:
    """Closing leaves nobody waiting."""
    commits = _Commits()
    first = commits.prover.ask()
    await commits.until(lambda: len(commits.begun) == 1)
    second = commits.prover.ask()
    await commits.prover.close()
    for asked in (first, second):
        with pytest.raises(DatabaseUnavailable):
            await commits.prover.require(asked, HERE, Deadline.after(10))
