"""The cluster that a command works on: found in the home, rendered, and connected."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from standfest.cluster.binaries import Binaries
from standfest.cluster.handle import Cluster, connected
from standfest.cluster.home import Home
from standfest.cluster.secrets import PASSWORDS, Secrets
from standfest.cluster.topology import Node, Topology, TopologyError
from standfest.cluster.topology_file import read_topology
from standfest.redundancy.render import render_node
from standfest.redundancy.site import Site


def existing_home() -> tuple[Home, Topology]:
    """The home and its topology; TopologyError where no cluster was ever started there."""
    home = Home.default()
    if not home.topology.exists():
        raise TopologyError(f"there is no cluster in {home.root}; start one with: ./standfest up")
    return home, read_topology(home.topology)


@asynccontextmanager
async def existing_cluster() -> AsyncIterator[Cluster]:
    """The cluster in the home, running or not."""
    home, topology = existing_home()
    async with connected(home, topology) as cluster:
        yield cluster


def rendered(home: Home, topology: Topology, node: Node, binaries: Binaries) -> Mapping[Path, str]:
    """The configuration files of `node`."""
    secrets = Secrets(home.secrets)
    passwords = {name: secrets.password(name) for name in PASSWORDS}
    return render_node(Site(topology, node, home.node(node.name), secrets, passwords, binaries))
