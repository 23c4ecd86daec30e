"""All that the rendering of one node's configurations depends on: given in, so that rendering stays pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from standfest.cluster.binaries import Binaries
from standfest.cluster.home import NodeHome
from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import Node, Topology


@dataclass(frozen=True)
class Site:
    """One node as the renderers see it."""

    topology: Topology
    node: Node
    home: NodeHome
    secrets: Secrets
    """Where key and password files lie; the renderers only name them."""
    passwords: Mapping[str, str]
    """Passwords by name, for the formats that cannot refer to a file."""
    binaries: Binaries
