"""How full the journal is, as a process that takes orders knows it, on a real cluster of three."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from standfest.clients.etcd_kv import EtcdStore, Put, Txn
from standfest.clients.etcd_maintenance import EtcdMaintenance
from standfest.intake import journal_size
from standfest.intake.errors import JournalFull
from standfest.intake.journal import Journal
from standfest.intake.upkeep_plan import MIB
from tests.support.etcd import EtcdCluster, start_etcd

BOUND = 4 * MIB


@pytest.fixture
def members() -> Iterator[EtcdCluster]:
    """Three members for this test alone."""
    with start_etcd() as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def watched(members: EtcdCluster) -> AsyncIterator[tuple[Journal, EtcdStore]]:
    """A journal with a bound of a few MiB, as an API process on the first member's node watches it."""
    async with members.session() as session:
        store = EtcdStore(session, members.addresses, members.tls())
        journal = Journal(store, BOUND)
        maintenance = EtcdMaintenance(session, members.addresses, members.tls())
        watching = asyncio.create_task(journal_size.watch_size(journal, maintenance))
        try:
            yield journal, store
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often."""
    monkeypatch.setattr(journal_size, "INTERVAL_S", 0.05)


@pytest.mark.parametrize("away", ["n1", "n2", "n3"])
async def test_the_bound_holds_with_a_member_away(members: EtcdCluster, away: str) -> None:
    """Whichever member is gone, the process learns from the others that the journal is full, and refuses."""
    async with watched(members) as (journal, store):
        gone = next(member for member in members.members if member.name == away)
        gone.kill()
        members.leader()
        assert not journal.full
        for number in range(16):
            await store.txn(Txn((), (Put(b"k%d" % number, b"x" * 512 * 1024),)), 30)
        await until(lambda: journal.full)
        with pytest.raises(JournalFull):
            await journal.accept([], 5)


async def test_a_size_that_nobody_tells_counts_as_too_much(
    members: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without an answer of any member nothing is accepted; with the first answer it is again."""
    monkeypatch.setattr(journal_size, "UNKNOWN_MAX_S", 1.0)
    async with watched(members) as (journal, _):
        with contextlib.ExitStack() as stack:
            for member in members.members:
                stack.enter_context(member.paused())
            await until(lambda: journal.full)
        await until(lambda: not journal.full)
