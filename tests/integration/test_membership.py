"""Which nodes may start, by what their disks hold; no process runs."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from standfest.clients.asking import Asker
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import hold
from standfest.cluster.home import Home
from standfest.cluster.inventory import Kind
from standfest.cluster.membership import STORES, EmptyNodeError, Store, lacking, refuse_empty, startable
from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import LOCAL

ETCD, JOURNAL = STORES
N1, N2, N3 = LOCAL.nodes


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A home in which nothing was ever started."""
    async with aiohttp.ClientSession() as session:
        yield Cluster(Home(tmp_path), LOCAL, Secrets(tmp_path), Asker(session), ssl.create_default_context())


def give(cluster: Cluster, stores: tuple[Store, ...], *nodes: str) -> None:
    """Nodes have a database, and data of members of these stores."""
    for name in nodes:
        home = cluster.home.node(name)
        home.postgres.mkdir(parents=True)
        (home.postgres / "PG_VERSION").touch()
        for store in stores:
            (store.data(home) / "member" / "wal").mkdir(parents=True)
            (store.data(home) / "member" / "wal" / "0.wal").touch()


async def test_a_new_home_starts(cluster: Cluster) -> None:
    """Where nobody holds a database all nodes start, even if members of one were made before `up` was interrupted."""
    assert startable(cluster, LOCAL.nodes) == [N1, N2, N3]
    (ETCD.data(cluster.home.node("n1")) / "member" / "wal").mkdir(parents=True)
    (ETCD.data(cluster.home.node("n1")) / "member" / "wal" / "0.wal").touch()
    assert startable(cluster, LOCAL.nodes) == [N1, N2, N3]


async def test_a_store_that_is_new_to_the_cluster_starts(cluster: Cluster) -> None:
    """A home of the release before the journal starts on all nodes."""
    give(cluster, (ETCD,), "n1", "n2", "n3")
    assert startable(cluster, LOCAL.nodes) == [N1, N2, N3]


async def test_an_empty_node_waits_for_its_place(cluster: Cluster) -> None:
    """Two nodes that hold members start, an empty third does not, and is refused by itself with what to do next."""
    give(cluster, STORES, "n1", "n2")
    assert lacking(cluster) == {"n3": STORES}
    assert startable(cluster, LOCAL.nodes) == [N1, N2]
    with pytest.raises(EmptyNodeError, match=r"\./standfest recover n1$"):
        refuse_empty(cluster, N3)
    refuse_empty(cluster, N3, (Kind.API,))
    refuse_empty(cluster, N1)


async def test_two_empty_nodes_make_no_second_cluster(cluster: Cluster) -> None:
    """Two empty nodes are never started beside a survivor, held or not; the refusal names `recover`."""
    give(cluster, STORES, "n3")
    for nodes in ([N1, N2, N3], [N1, N2]):
        with pytest.raises(EmptyNodeError, match=r"^n1, n2 would start .* \./standfest recover n3$"):
            startable(cluster, nodes)


async def test_one_lost_member_is_enough(cluster: Cluster) -> None:
    """A node that has its etcd and lost its journal does not start, unless that member is held by itself."""
    give(cluster, STORES, "n1", "n2")
    give(cluster, (ETCD,), "n3")
    assert startable(cluster, LOCAL.nodes) == [N1, N2]
    hold(cluster.home.node("n3"), Kind.JOURNAL.value)
    assert startable(cluster, LOCAL.nodes) == [N1, N2, N3]
