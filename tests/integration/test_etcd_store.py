"""The client of etcd's key-value store against a real cluster of three: what it promises, and when members fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from standfest.clients.etcd import client_tls
from standfest.clients.etcd_kv import (
    Absent,
    Delete,
    EtcdFull,
    EtcdOutcomeUnknown,
    EtcdRejected,
    EtcdStore,
    EtcdUnavailable,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    Unchanged,
)
from standfest.clients.etcd_wire import OPERATIONS_MAX
from standfest.cluster.authority import issue, new_authority
from tests.support.etcd import EtcdCluster, start_etcd

DEADLINE_S = 30.0


@pytest_asyncio.fixture
async def store(etcd: EtcdCluster) -> AsyncIterator[EtcdStore]:
    """A store that prefers a follower."""
    async with etcd.session() as session:
        first, second = etcd.followers()
        yield EtcdStore(session, [first.address, etcd.leader().address, second.address], etcd.tls())


def _create(name: str, value: bytes = b"entry") -> Txn:
    claim = f"c/{name}".encode()
    return Txn((Absent(claim),), (Put(claim, b"id"), Put(f"o/{name}".encode(), value)), (Range(claim),))


def _inner(result: TxnResult) -> list[bool]:
    return [each.succeeded for each in result.results if isinstance(each, TxnResult)]


async def _keys(store: EtcdStore, prefix: str) -> list[bytes]:
    found = await store.get(Range(prefix.encode(), prefix.encode() + b"\xff"), DEADLINE_S)
    return [value.key for value in found.values]


async def test_create_if_absent_happens_once(store: EtcdStore) -> None:
    """The second of two equal transactions changes nothing and answers what the first one wrote."""
    first, second = [await store.txn(_create("once"), DEADLINE_S) for _ in range(2)]
    assert first.result == TxnResult(True, (None, None))
    found = second.result.results[0]
    assert isinstance(found, RangeResult)
    assert [(each.key, each.value) for each in found.values] == [(b"c/once", b"id")]
    assert not second.result.succeeded
    assert found.values[0].create_revision == first.revision


async def test_nested_transactions_are_decided_one_by_one(store: EtcdStore) -> None:
    """Of 60 in one, the 20 whose key exists fail by themselves, and all the others are created at one revision."""
    await store.txn(Txn((), tuple(_create(f"n{number:02}") for number in range(0, 60, 3))), DEADLINE_S)
    answer = await store.txn(Txn((), tuple(_create(f"n{number:02}") for number in range(60))), DEADLINE_S)
    assert _inner(answer.result) == [number % 3 != 0 for number in range(60)]
    found = await store.get(Range(b"o/n", b"o/o", by_creation=True), DEADLINE_S)
    # Those that were created together have no order among themselves.
    assert {value.key for value in found.values[20:]} == {
        f"o/n{number:02}".encode() for number in range(60) if number % 3
    }
    assert {value.create_revision for value in found.values[20:]} == {answer.revision}


async def test_one_transaction_has_a_largest_number_of_nested_ones(store: EtcdStore) -> None:
    """The documented number is taken, one more is rejected, and nothing of it is written."""
    most = tuple(_create(f"m{number}") for number in range(OPERATIONS_MAX))
    assert all(_inner((await store.txn(Txn((), most), DEADLINE_S)).result))
    with pytest.raises(EtcdRejected, match="too many operations"):
        await store.txn(Txn((), tuple(_create(f"q{number}") for number in range(OPERATIONS_MAX + 1))), DEADLINE_S)
    assert await _keys(store, "c/q") == []


async def test_twins_in_one_transaction_are_rejected(store: EtcdStore) -> None:
    """Two nested transactions that may put the same key are refused together: the caller has to part them."""
    with pytest.raises(EtcdRejected, match="duplicate key"):
        await store.txn(Txn((), (_create("twin"), _create("twin"))), DEADLINE_S)
    assert await _keys(store, "c/twin") == []


async def test_what_is_too_large_is_rejected(store: EtcdStore) -> None:
    """More than etcd's 1.5 MiB is refused as such, and not repeated until the deadline."""
    with pytest.raises(EtcdRejected, match="too large"):
        await store.txn(_create("large", b"x" * 1_600_000), DEADLINE_S)


async def test_a_deletion_holds_only_for_what_was_read(store: EtcdStore) -> None:
    """With another revision nothing is deleted; with the one that was read the number of keys is answered."""
    written = (await store.txn(_create("gone"), DEADLINE_S)).revision
    for revision, results in ((written - 1, ()), (written, (1, 1))):
        txn = Txn((Unchanged(b"o/gone", revision),), (Delete(b"o/gone"), Delete(b"c/gone")))
        assert (await store.txn(txn, DEADLINE_S)).result.results == results
    assert await _keys(store, "o/gone") == []


async def test_a_range_is_cut_and_sorted_as_asked(store: EtcdStore) -> None:
    """By creation, limited, keys only: the oldest come first, the rest is counted."""
    for name in ("rz", "ra", "rm"):
        await store.txn(_create(name), DEADLINE_S)
    found = await store.get(Range(b"o/r", b"o/s", limit=2, keys_only=True, by_creation=True), DEADLINE_S)
    assert ([each.key for each in found.values], found.count, found.more) == ([b"o/rz", b"o/ra"], 3, True)
    assert {each.value for each in found.values} == {b""}


async def test_history_is_compacted_any_number_of_times(store: EtcdStore) -> None:
    """To compact again is fine, what is current stays, and the future cannot be compacted."""
    revision = (await store.txn(_create("kept"), DEADLINE_S)).revision
    for _ in range(2):
        await store.compact(revision, DEADLINE_S)
    assert await _keys(store, "o/kept") == [b"o/kept"]
    with pytest.raises(EtcdRejected, match="future revision"):
        await store.compact(revision + 1000, DEADLINE_S)


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_lost_leader_costs_time_and_nothing_else(etcd: EtcdCluster, store: EtcdStore, fault: str) -> None:
    """Transactions under way and new ones succeed once the others have elected; each is there once."""
    leader = etcd.leader()
    names = [f"{fault}{number:03}" for number in range(100)]

    async def send(number: int, name: str) -> None:
        await asyncio.sleep(number / 100)
        if number == 30:
            leader.kill() if fault == "killed" else leader.pause()
        await store.txn(_create(name, name.encode()), DEADLINE_S)

    try:
        await asyncio.gather(*(send(number, name) for number, name in enumerate(names)))
        assert await _keys(store, f"o/{fault}") == [f"o/{name}".encode() for name in names]
    finally:
        etcd.restart(leader) if fault == "killed" else leader.resume()
        etcd.wait_until_well()


async def test_a_frozen_own_member_is_left_for_another(etcd: EtcdCluster) -> None:
    """A member that says nothing holds up the first request; those after it go elsewhere, without asking it first."""
    own, *others = [*etcd.followers(), etcd.leader()]
    async with etcd.session() as session:
        store = EtcdStore(session, [own.address, *(each.address for each in others)], etcd.tls(), attempt_s=4.0)
        with own.paused():
            await store.txn(_create("frozen"), DEADLINE_S)
            for number in range(3):
                await store.txn(_create(f"frozen-{number}"), 3.0)  # too short to be silent once, then ask another
    etcd.wait_until_well()


async def test_without_a_quorum_the_outcome_is_unknown(etcd: EtcdCluster) -> None:
    """A member took the transaction and could not say more: that is in doubt, a read that fails is not."""
    first, second, third = etcd.members
    async with etcd.session() as session:
        store = EtcdStore(session, [first.address, second.address, third.address], etcd.tls())
        await store.txn(_create("before"), DEADLINE_S)
        second.kill()
        third.kill()
        try:
            with pytest.raises(EtcdOutcomeUnknown):
                await store.txn(_create("doubt"), 1.0)
            with pytest.raises(EtcdUnavailable):
                await store.get(Range(b"o/"), 1.0)
        finally:
            second.start()
            third.start()
            etcd.wait_until_well()


async def test_where_nothing_listens_nothing_was_sent(etcd: EtcdCluster) -> None:
    """Connections that are refused leave no doubt."""
    async with etcd.session() as session:
        store = EtcdStore(session, ["127.0.31.9:1", "127.0.31.9:2"], etcd.tls())
        with pytest.raises(EtcdUnavailable, match="Connect"):
            await store.txn(_create("nowhere"), 0.5)


async def test_a_member_of_another_authority_is_not_talked_to(etcd: EtcdCluster, tmp_path: Path) -> None:
    """Where a member's certificate is not from the own authority, nothing is sent."""
    authority = new_authority("other")
    holder = issue(authority, "client", ())
    files = [tmp_path / name for name in ("ca.pem", "client.pem", "client-key.pem")]
    for file, data in zip(files, (authority.certificate, holder.certificate, holder.key), strict=True):
        file.write_bytes(data)
    async with etcd.session() as session:
        store = EtcdStore(session, etcd.addresses, client_tls(*files))
        with pytest.raises(EtcdUnavailable):
            await store.txn(_create("stranger"), 0.5)


def test_a_full_store_says_so_and_still_deletes() -> None:
    """At its quota etcd takes nothing more from a transaction with a put of its own, deletes, and can be read."""
    with start_etcd(quota_bytes=8 * 1024 * 1024) as cluster:
        asyncio.run(_fill(cluster))


async def _fill(cluster: EtcdCluster) -> None:
    async with cluster.session() as session:
        store = EtcdStore(session, cluster.addresses, cluster.tls())
        with pytest.raises(EtcdFull, match="quota"):
            await _accept_endlessly(store)
        with pytest.raises(EtcdFull):
            await store.txn(Txn((), (_create("more"), Put(b"size", b""))), DEADLINE_S)
        entry = (await store.get(Range(b"o/0"), DEADLINE_S)).values[0]
        removed = await store.txn(Txn((Unchanged(b"o/0", entry.mod_revision),), (Delete(b"o/0"),)), DEADLINE_S)
        assert removed.result == TxnResult(True, (1,))


async def _accept_endlessly(store: EtcdStore) -> None:
    for number in range(100):
        await store.txn(Txn((), (_create(f"{number}", b"x" * 250_000), Put(b"size", b""))), DEADLINE_S)
