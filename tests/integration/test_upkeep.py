"""Upkeep of the journal on a real cluster of three: bounded history, small files, the leader's place, alarms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from standfest.clients.etcd_kv import Delete, EtcdFull, EtcdStore, Put, Range, Txn
from standfest.clients.etcd_maintenance import EtcdMaintenance
from standfest.intake import upkeep as upkeep_module
from standfest.intake.figures import UpkeepFigures
from standfest.intake.upkeep import JournalUpkeep
from standfest.intake.upkeep_plan import MIB, Compact, Defragment, Disarm, Limits, MoveLeader, Step
from tests.support.etcd import EtcdCluster, Member, start_etcd

DEADLINE_S = 30.0
ATTEMPTS = 5
EAGER = Limits(history_revisions=1, defragment_bytes=4 * MIB)


@dataclass
class Journal:
    """A cluster with what looks after it."""

    etcd: EtcdCluster
    store: EtcdStore
    maintenance: EtcdMaintenance

    def upkeep(self, primary_host: str | None = None, limits: Limits = EAGER, node: str = "n1") -> JournalUpkeep:
        """One worker's upkeep."""
        return JournalUpkeep(self.store, self.maintenance, node, lambda: primary_host, limits)

    async def put(self, key: bytes, value: bytes) -> None:
        """Write one key."""
        await self.store.txn(Txn((), (Put(key, value),)), DEADLINE_S)

    async def values(self) -> dict[bytes, bytes]:
        """All that was written by `put`."""
        found = await self.store.get(Range(b"k", b"l"), DEADLINE_S)
        return {value.key: value.value for value in found.values}

    async def clear(self) -> None:
        """Leave nothing behind."""
        await self.store.txn(Txn((), (Delete(b"\0", b"\xff"),)), DEADLINE_S)


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    """Three members for this module; a test leaves all of them running."""
    with start_etcd() as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def _journal(etcd: EtcdCluster) -> AsyncIterator[Journal]:
    async with etcd.session() as session:
        store = EtcdStore(session, etcd.addresses, etcd.tls())
        yield Journal(etcd, store, EtcdMaintenance(session, etcd.addresses, etcd.tls()))


@pytest_asyncio.fixture
async def journal(etcd: EtcdCluster) -> AsyncIterator[Journal]:
    """An empty store on the module's cluster."""
    async with _journal(etcd) as journal:
        await journal.clear()
        yield journal


async def _rounds(upkeep: JournalUpkeep, wanted: type[Step], times: int = 1) -> list[Step]:
    """Rounds until a kind of step was taken so often; all steps."""
    steps: list[Step] = []
    async with asyncio.timeout(2 * DEADLINE_S):
        while sum(isinstance(step, wanted) for step in steps) < times:
            steps += await upkeep.round()
            await asyncio.sleep(0.1)
    return steps


async def _until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - files and processes tell nobody that they have changed
            await asyncio.sleep(0.05)
    assert condition(), what


async def test_compaction_bounds_history(journal: Journal) -> None:
    """Writing the same 4 MiB twelve times over leaves files far smaller than all that was written."""
    upkeep = journal.upkeep(limits=Limits(history_bytes=2 * MIB))
    for number in range(12 * 8):
        await journal.put(b"k%d" % (number % 8), b"%02d" % number * 256 * 1024)
        if number % 4 == 3:
            await upkeep.round()
    assert upkeep.done.steps["compact"] >= 3
    assert max(member.file_bytes for member in journal.etcd.members) < 30 * MIB
    assert await journal.values() == {b"k%d" % n: b"%02d" % (n + 88) * 256 * 1024 for n in range(8)}
    assert upkeep.health.healthy == 3


async def test_defragmentation_shrinks_every_members_file(journal: Journal) -> None:
    """Files that are mostly free are written anew one after the other, the leader's after it has handed over."""
    for number in range(40):
        await journal.put(b"k%d" % number, b"x" * 512 * 1024)
    await journal.store.txn(Txn((), (Delete(b"k1", b"l"),)), DEADLINE_S)
    leader = journal.etcd.leader()
    assert min(member.file_bytes for member in journal.etcd.members) > 16 * MIB

    steps = await _rounds(journal.upkeep(), Defragment, times=3)
    assert {step.member.address for step in steps if isinstance(step, Defragment)} == set(journal.etcd.addresses)
    assert max(member.file_bytes for member in journal.etcd.members) < 4 * MIB
    assert journal.etcd.leader() is not leader
    assert await journal.values() == {b"k0": b"x" * 512 * 1024}


async def test_the_leader_leaves_the_primarys_node(journal: Journal) -> None:
    """Where the primary runs on the leader's node another member leads soon, and the transaction after it succeeds."""
    leader = journal.etcd.leader()
    upkeep = journal.upkeep(primary_host=leader.host, limits=Limits())
    await _rounds(upkeep, MoveLeader)
    assert journal.etcd.leader() is not leader
    await journal.put(b"k", b"after")
    assert upkeep.done.steps["move_leader"] == 1
    await upkeep.round()
    assert upkeep.health.leader is not None
    assert upkeep.health.leader.host != leader.host


async def test_while_a_member_is_away_no_other_is_disturbed(journal: Journal) -> None:
    """Files stay as large as they are and the leader where it is until all three are healthy; history is forgotten."""
    for number in range(30):
        await journal.put(b"k%d" % number, b"x" * 512 * 1024)
    await journal.store.txn(Txn((), (Delete(b"k", b"l"),)), DEADLINE_S)
    leader, (away, _) = journal.etcd.leader(), journal.etcd.followers()
    upkeep = journal.upkeep(primary_host=leader.host)
    away.kill()
    try:
        steps = [step for _ in range(4) for step in await upkeep.round()]
        assert {type(step) for step in steps} == {Compact}
        assert upkeep.health.healthy == 2
        assert journal.etcd.leader() is leader
    finally:
        journal.etcd.restart(away)
    await _rounds(upkeep, Defragment)


@pytest.mark.parametrize("victim", ["n1", "n2", "n3"])
async def test_a_crash_during_compaction_loses_nothing(journal: Journal, victim: str) -> None:
    """A member killed while it forgets history goes on with that at its restart, and has all that is current."""
    killed = next(member for member in journal.etcd.members if member.name == victim)
    upkeep = journal.upkeep(limits=Limits(history_revisions=1))
    for attempt in range(ATTEMPTS):
        wanted = {b"k%d" % (number % 500): b"%d-%06d" % (attempt, number) for number in range(60_000)}
        for start in range(0, 60_000, 100):
            numbers = range(start, start + 100)
            puts = tuple(Put(b"k%d" % (number % 500), b"%d-%06d" % (attempt, number)) for number in numbers)
            await journal.store.txn(Txn((), puts), DEADLINE_S)
        assert [type(step) for step in await upkeep.round()] == [Compact]
        killed.kill()
        try:
            assert await journal.values() == wanted
        finally:
            journal.etcd.restart(killed)
        if killed.log_lines("resume scheduled compaction"):
            break
    else:
        pytest.fail(f"it was killed too early or too late {ATTEMPTS} times")
    for member in journal.etcd.members:
        assert await _values_at(journal, member) == wanted


async def _values_at(journal: Journal, member: Member) -> dict[bytes, bytes]:
    async with journal.etcd.session() as session:
        alone = EtcdStore(session, [member.address], journal.etcd.tls())
        found = await alone.get(Range(b"k", b"l"), DEADLINE_S)
        return {value.key: value.value for value in found.values}


async def test_only_one_worker_works(journal: Journal) -> None:
    """The others look on while it writes; all of them know how the members are."""
    first, second = journal.upkeep(node="n1"), journal.upkeep(node="n2")
    for _ in range(3):
        await first.round()
        assert await second.round() == []
    assert second.health.healthy == 3
    assert first.done.steps["compact"] >= 1


async def test_the_turn_of_a_worker_that_is_gone_is_taken(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has seen the turn unchanged for long enough works."""
    monkeypatch.setattr("standfest.intake.upkeep_turn.PATIENCE_S", 0.3)
    gone, other = journal.upkeep(node="n1"), journal.upkeep(node="n2")
    await gone.round()
    assert await other.round() == []
    await _rounds(other, Compact)


async def test_a_full_store_takes_orders_again_once_they_are_drained() -> None:
    """At NOSPACE, deletions, compaction, defragmentation and disarming bring the store back by themselves."""
    with start_etcd(quota_bytes=8 * MIB) as cluster:
        async with _journal(cluster) as journal:
            with pytest.raises(EtcdFull):
                await _fill(journal)
            upkeep = journal.upkeep(limits=Limits())
            await upkeep.round()
            assert list(upkeep.health.alarms) == ["NOSPACE"]
            await journal.store.txn(Txn((), (Delete(b"k", b"l"),)), DEADLINE_S)
            await _rounds(upkeep, Disarm)
            assert upkeep.done.steps["defragment"] >= 1  # files differ in size: one may have been all
            await journal.put(b"k", b"again")
            await upkeep.round()
            assert list(upkeep.health.alarms) == []


async def test_a_full_store_takes_orders_again_with_a_member_away() -> None:
    """With one of three members gone for good, too, the store is made small and takes what is put."""
    with start_etcd(quota_bytes=8 * MIB) as cluster:
        async with _journal(cluster) as journal:
            with pytest.raises(EtcdFull):
                await _fill(journal)
            cluster.followers()[0].kill()
            cluster.leader()
            upkeep = journal.upkeep(limits=Limits())
            await journal.store.txn(Txn((), (Delete(b"k", b"l"),)), DEADLINE_S)
            await _rounds(upkeep, Disarm)
            assert upkeep.health.healthy == 2
            await journal.put(b"k", b"again")
            assert await journal.values() == {b"k": b"again"}


async def _fill(journal: Journal) -> None:
    for number in range(200):
        await journal.put(b"k%d" % number, b"x" * 256 * 1024)


async def test_without_a_quorum_upkeep_waits(journal: Journal) -> None:
    """It fails no round with an error, does nothing, and goes on once members are back."""
    upkeep = journal.upkeep()
    stopped = journal.etcd.members[1:]
    for member in stopped:
        member.kill()
    try:
        assert await upkeep.round() == []
        assert upkeep.health.healthy == 0
    finally:
        for member in stopped:
            member.start()
        journal.etcd.wait_until_well()
    await _rounds(upkeep, Compact)


async def test_upkeep_ends_when_it_is_told_to(journal: Journal) -> None:
    """A pause or a step that is under way does not hold up the end of the worker."""
    upkeep, stop = journal.upkeep(), asyncio.Event()
    running = asyncio.create_task(upkeep.run(stop))
    await _until(lambda: upkeep.done.steps["compact"] > 0, "a compaction")
    stop.set()
    async with asyncio.timeout(upkeep_module.INTERVAL_S / 2):
        await running


async def test_figures_show_the_members_and_what_was_done(journal: Journal) -> None:
    """A worker's metrics tell the largest file's real size, how many members are healthy, and the steps taken."""
    upkeep = journal.upkeep()
    await _rounds(upkeep, Compact)
    registry = CollectorRegistry()
    registry.register(UpkeepFigures(upkeep))
    assert registry.get_sample_value("standfest_journal_members_healthy") == 3
    assert registry.get_sample_value("standfest_journal_has_leader") == 1
    assert registry.get_sample_value("standfest_journal_upkeep_steps_total", {"step": "compact"}) == 1
    largest = max(member.file_bytes for member in journal.etcd.members)
    assert registry.get_sample_value("standfest_journal_size_bytes") == largest
