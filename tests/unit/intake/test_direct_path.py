"""The way back to the direct path."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from standfest.clients.etcd_kv import EtcdUnavailable
from standfest.intake.direct_path import PROBE_FIRST_S, REST_FIRST_S, BacklogOld, DirectPath
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
    accepted_at = float("-inf")

    async def backlog(self, *_: object, **__: object) -> None:
        raise EtcdUnavailable("it does not tell")


async def leave_and_come_back(path: DirectPath, times: int, error: Exception) -> Path:
    """Leaves the direct path and waits for the way back, so many times; the path in the end."""
    running = asyncio.create_task(path.run())
    for _ in range(times):
        path.leave(error)
        async with asyncio.timeout(TIMEOUT_S):
            while path.path is Path.JOURNAL:  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0.01)
    running.cancel()
    return path.path


def direct_path(commit_s: float) -> DirectPath:
    """With a database that answers, and a journal that does not tell."""
    path = _SlowCommits(cast("Any", SimpleNamespace()), cast("Any", _SilentJournal()), lambda _: None)
    path.commit_s = commit_s
    return path


@pytest.mark.parametrize("commit_s", [0.05, 1.5 * PROBE_FIRST_S])
def test_the_way_back_is_found_however_slow_commits_are(commit_s: float) -> None:
    """A database that has to answer for a while before it is trusted is not given up between two answers."""

    async def go() -> Path:  # who leaves it again soon has to rest
        return await leave_and_come_back(direct_path(commit_s), 2, DatabaseUnavailable("slow"))

    assert asyncio.run(go()) is Path.DIRECT


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), BacklogOld("they wait")], ids=["away", "old"])
def test_who_leaves_again_soon_rests_longer(error: Exception) -> None:
    """Whatever it was left for: orders that are tried on both paths by turns keep a slow machine slow."""

    async def go() -> Path:
        return await leave_and_come_back(direct_path(0.01), 3, error)

    with capture_logs() as logs:
        assert asyncio.run(go()) is Path.DIRECT
    rests = [line["rested_s"] for line in logs if line["event"] == "direct_path_again"]
    assert rests == [REST_FIRST_S, 2 * REST_FIRST_S, 4 * REST_FIRST_S]
