"""Which node holds a member of which etcd: an empty node is never started beside those that hold one.

Configured like every other, it would be counted as the member that it was without knowing what that one had promised:
two such nodes make a second, empty cluster, and one of them can vote for a leader that lacks what was acknowledged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from standfest.clients.etcd import EtcdMember
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held
from standfest.cluster.home import NodeHome
from standfest.cluster.inventory import Kind
from standfest.cluster.topology import Node
from standfest.errors import StandfestError


class EmptyNodeError(StandfestError):
    """A node that is to start lacks what others have, and has to be given its place in the cluster first."""


@dataclass(frozen=True)
class Store:
    """One of the two etcd clusters, as it is on every node."""

    kind: Kind
    what: str
    """For people."""

    def data(self, home: NodeHome) -> Path:
        """Its member's data directory on a node."""
        return home.journal if self.kind is Kind.JOURNAL else home.etcd

    def config(self, home: NodeHome) -> Path:
        """Its member's configuration file on a node."""
        return home.config / f"{self.kind.value}.json"

    def has_data(self, home: NodeHome) -> bool:
        """Whether a node holds a member's log: without one etcd starts as if it never had."""
        return any((self.data(home) / "member" / "wal").glob("*.wal"))

    def founded(self, home: NodeHome) -> Path:
        """The mark that a node's member had data (commands.py); whoever gives it a new place removes it."""
        return home.founded(self.kind.value)

    def member(self, cluster: Cluster, node: Node) -> EtcdMember:
        """Its member on a node."""
        return cluster.journal(node) if self.kind is Kind.JOURNAL else cluster.etcd(node)


STORES = (Store(Kind.ETCD, "Patroni's etcd"), Store(Kind.JOURNAL, "the journal"))


def has_database(home: NodeHome) -> bool:
    """Whether a database was ever made on a node."""
    return (home.postgres / "PG_VERSION").exists()


def lacking(cluster: Cluster) -> Mapping[str, tuple[Store, ...]]:
    """By node, the stores of which it holds no member while another node does; without nodes that lack none.

    A store that nobody holds is new to the cluster, and a cluster without any database has nothing to lose yet.
    """
    homes = {node.name: cluster.node_home(node) for node in cluster.topology.nodes}
    if not any(has_database(home) for home in homes.values()):
        return {}
    founded = [store for store in STORES if any(store.has_data(home) for home in homes.values())]
    found = {name: tuple(each for each in founded if not each.has_data(home)) for name, home in homes.items()}
    return {name: stores for name, stores in found.items() if stores}


def startable(cluster: Cluster, nodes: Sequence[Node]) -> list[Node]:
    """Those of `nodes` that may start: an empty one waits for its place, which those that are not can give it.

    EmptyNodeError where too few of `nodes` hold a member for a quorum that could.
    """
    lost = lacking(cluster)
    ready = [node for node in nodes if not _would_start_empty(cluster, node, lost)]
    if len(ready) < len(nodes):
        for store in STORES:
            able = [node for node in ready if store not in lost.get(node.name, ())]
            if len(able) < len(cluster.topology.nodes) // 2 + 1:
                raise _error(cluster, [node for node in nodes if node not in ready], lost)
    return ready


def allow_new(cluster: Cluster) -> None:
    """Let members start without data where nobody holds any: as members of a cluster that is new."""
    homes = [cluster.node_home(node) for node in cluster.topology.nodes]
    for store in STORES:
        if not any(store.has_data(home) for home in homes):
            for home in homes:
                store.founded(home).unlink(missing_ok=True)


def refuse_empty(cluster: Cluster, node: Node, kinds: Sequence[Kind] = (Kind.ETCD, Kind.JOURNAL)) -> None:
    """EmptyNodeError where one of the node's members of these kinds would start empty beside others."""
    lost = {name: tuple(each for each in stores if each.kind in kinds) for name, stores in lacking(cluster).items()}
    if _would_start_empty(cluster, node, lost):
        raise _error(cluster, [node], lost)


def _would_start_empty(cluster: Cluster, node: Node, lost: Mapping[str, tuple[Store, ...]]) -> bool:
    home = cluster.node_home(node)
    return any(not is_held(home, store.kind.value) for store in lost.get(node.name, ()))


def _error(cluster: Cluster, nodes: Sequence[Node], lost: Mapping[str, tuple[Store, ...]]) -> EmptyNodeError:
    stores = {store for node in nodes for store in lost.get(node.name, ())}
    whole = [node.name for node in cluster.topology.nodes if node.name not in lost]
    return EmptyNodeError(
        f"{', '.join(node.name for node in nodes)} would start without a member of "
        f"{' and '.join(store.what for store in STORES if store in stores)}, while {' and '.join(whole) or 'others'} "
        "hold theirs: a second, empty cluster could come of it. Start the nodes whose disks are there first "
        "(./standfest node start NAME); the others are given their place by: "
        f"./standfest recover {whole[0] if whole else 'NAME'}"
    )
