"""Deleted entries of the journal, brought back from the history of a real etcd member."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from standfest.clients.etcd_kv import Delete, EtcdStore, Put, Range, Txn
from standfest.cluster.journal_history import bring_back
from tests.support.etcd import EtcdCluster, start_etcd

DEADLINE_S = 10.0


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    """Three members."""
    with start_etcd() as cluster:
        yield cluster


async def put(store: EtcdStore, **values: bytes) -> int:
    """Puts keys below `standfest/`, where `_` stands for `/`; the revision."""
    puts = tuple(Put(named(name), value) for name, value in values.items())
    return (await store.txn(Txn((), puts), DEADLINE_S)).revision


async def delete(store: EtcdStore, *names: str) -> None:
    """Deletes such keys."""
    await store.txn(Txn((), tuple(Delete(named(name)) for name in names)), DEADLINE_S)


def named(name: str) -> bytes:
    """A key below `standfest/`."""
    return f"standfest/{name.replace('_', '/')}".encode()


async def there(store: EtcdStore) -> Sequence[tuple[bytes, bytes]]:
    """All keys and values, in the order in which they were created."""
    found = await store.get(Range(b"standfest/", b"standfest0", by_creation=True), DEADLINE_S)
    return [(each.key, each.value) for each in found.values]


def test_what_was_drained_lately_is_brought_back_in_its_order(etcd: EtcdCluster) -> None:
    """Claims and entries that history shows come back as they were last, the older first; nothing else changes."""

    async def work() -> None:
        async with etcd.session() as session:
            store = EtcdStore(session, etcd.addresses, etcd.tls())
            await put(store, o_forgotten=b"0", c_forgotten=b"0")
            await delete(store, "o_forgotten", "c_forgotten")
            await put(store, o_second=b"old", c_second=b"2")
            await delete(store, "o_second", "c_second")
            compacted = await put(store, o_first=b"1", c_first=b"1")
            await store.compact(compacted, DEADLINE_S)
            await put(store, o_second=b"new", c_second=b"2", x_apart=b"3", progress=b"4")
            await delete(store, "o_second", "c_second", "x_apart", "o_first", "c_first")
            await put(store, o_waits=b"5", c_waits=b"5")
            assert await bring_back(session, etcd.addresses[0], etcd.tls()) == 2
            found = await there(store)
            assert set(found) == {
                (b"standfest/progress", b"4"),
                *((named(name), b"5") for name in ("o_waits", "c_waits")),
                *((named(name), b"1") for name in ("o_first", "c_first")),
                (named("o_second"), b"new"),
                (named("c_second"), b"2"),
            }
            order = [key for key, _ in found]
            assert order.index(named("o_first")) < order.index(named("o_second"))
            before = found
            assert await bring_back(session, etcd.addresses[0], etcd.tls()) == 2
            assert await there(store) == before

    asyncio.run(work())
