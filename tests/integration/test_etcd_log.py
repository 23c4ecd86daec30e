"""The log of a real etcd member whose cluster is lost, and what the member serves afterwards."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfest.clients.etcd_kv import EtcdOutcomeUnknown, EtcdStore, Put, Range, Txn
from standfest.cluster.etcd_log import LogUnreadableError, checksum, commit_all, read_end
from tests.support.etcd import EtcdCluster, Member, start_etcd

KNOWN, HELD = b"known", b"held"


@pytest.fixture
def etcd() -> Iterator[EtcdCluster]:
    """Three members of its own: they are lost in each test."""
    with start_etcd() as cluster:
        yield cluster


def put(etcd: EtcdCluster, member: Member, key: bytes) -> None:
    """Puts a key through this member alone."""

    async def work() -> None:
        async with etcd.session() as session:
            store = EtcdStore(session, [member.address], etcd.tls())
            await store.txn(Txn((), (Put(key, b"1"),)), 2.0)

    asyncio.run(work())


def has(etcd: EtcdCluster, member: Member, key: bytes) -> bool:
    """Whether this member alone serves the key."""

    async def work() -> int:
        async with etcd.session() as session:
            return (await EtcdStore(session, [member.address], etcd.tls()).get(Range(key), 10.0)).count

    return asyncio.run(work()) == 1


def lose_all_but_the_leader(etcd: EtcdCluster) -> Member:
    """The leader, stopped; its log ends with an entry of which it does not know whether anybody else has it."""
    survivor = etcd.leader()
    put(etcd, survivor, KNOWN)
    for follower in etcd.followers():
        follower.pause()
    with pytest.raises(EtcdOutcomeUnknown):
        put(etcd, survivor, HELD)
    for member in etcd.members:
        member.kill()
    return survivor


def stand_alone(etcd: EtcdCluster, survivor: Member) -> None:
    """Starts the survivor with etcd's own way out."""
    config = survivor.directory / f"{survivor.name}.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "force-new-cluster": True}))
    etcd.restart(survivor)


def test_what_a_member_holds_survives_its_cluster(etcd: EtcdCluster) -> None:
    """etcd's own way out drops what the member does not know as committed; after commit_all it is all there."""
    survivor = lose_all_but_the_leader(etcd)
    kept = survivor.directory / "kept"
    shutil.copytree(survivor.data, kept)
    stand_alone(etcd, survivor)
    assert has(etcd, survivor, KNOWN)
    assert not has(etcd, survivor, HELD)
    survivor.kill()
    survivor.erase()
    shutil.move(kept, survivor.data)
    assert commit_all(survivor.data) >= 1
    stand_alone(etcd, survivor)
    assert has(etcd, survivor, KNOWN)
    assert has(etcd, survivor, HELD)


def test_committing_twice_changes_nothing(etcd: EtcdCluster) -> None:
    """A log in which everything counts already is left as it is."""
    survivor = lose_all_but_the_leader(etcd)
    assert commit_all(survivor.data) >= 1
    end = read_end(survivor.data)
    assert end.committed == end.last
    before = end.file.read_bytes()
    assert commit_all(survivor.data) == 0
    assert end.file.read_bytes() == before


def test_a_damaged_log_is_left_as_it_is(etcd: EtcdCluster) -> None:
    """A log whose last record is torn, cut short, or no record at all, is refused and not written to."""
    survivor = lose_all_but_the_leader(etcd)
    end = read_end(survivor.data)
    whole = end.file.read_bytes()
    torn = bytearray(whole)
    torn[end.offset - 9] ^= 1
    garbled = bytearray(whole)
    garbled[8] = 0x0F
    for damaged in (bytes(torn), whole[: end.offset - 3], bytes(garbled)):
        end.file.write_bytes(damaged)
        with pytest.raises(LogUnreadableError):
            commit_all(survivor.data)
        assert end.file.read_bytes() == damaged


def test_no_member_is_no_log(tmp_path: Path) -> None:
    """A directory without a member is named in the refusal."""
    with pytest.raises(LogUnreadableError, match=str(tmp_path)):
        read_end(tmp_path)


def test_checksums_are_those_of_the_standard() -> None:
    """The check value of CRC-32C (RFC 3720) comes out, in one go or continued."""
    assert checksum(0, b"123456789") == 0xE3069283
    assert checksum(checksum(0, b"1234"), b"56789") == 0xE3069283
