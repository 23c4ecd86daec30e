"""The way back to the direct path."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from standfest.clients.etcd_kv import EtcdUnavailable
from standfest.intake.direct_path import PROBE_FIRST_S, DirectPath
from standfest.intake.paths import Path
from standfest.storage.errors import DatabaseUnavailable

TIMEOUT_S = 30.0


class _SlowCommits(DirectPath):
    """A database that answers, and takes so long for each commit."""

    commit_s = 0.0

    async def _database_answers(self, deadline_s: float) -> bool:
        await asyncio.sleep(min(self.commit_s, deadline_s))
        return deadline_s >= self.commit_s


class _SilentJournal:
    full = False

    async def backlog(self, *_: object, **__: object) -> None:
        raise EtcdUnavailable("it does not tell")


@pytest.mark.parametrize("commit_s", [0.05, 1.5 * PROBE_FIRST_S])
def test_the_way_back_is_found_however_slow_commits_are(commit_s: float) -> None:
    """A database that has to answer for a while before it is trusted is not given up between two answers."""

    async def go() -> Path:
        database = cast("Any", SimpleNamespace())
        path = _SlowCommits(database, cast("Any", _SilentJournal()), lambda _: None)
        path.commit_s = commit_s
        running = asyncio.create_task(path.run())
        for _ in range(2):  # who leaves it again soon has to rest
            path.leave(DatabaseUnavailable("slow"))
            async with asyncio.timeout(TIMEOUT_S):
                while path.path is Path.JOURNAL:  # noqa: ASYNC110 - no event says so
                    await asyncio.sleep(0.01)
        running.cancel()
        return path.path

    assert asyncio.run(go()) is Path.DIRECT
