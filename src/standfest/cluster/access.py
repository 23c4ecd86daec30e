"""Where the order plane keeps its orders, and who it is there: it knows nothing of homes and topologies itself."""

from dataclasses import dataclass

from standfest.cluster.secrets import Secrets
from standfest.cluster.topology import Node, Topology

DATABASE = "standfest"
"""Name of the order plane's database."""

APP_ROLE = "standfest_app"
"""The role of API processes and workers."""

OWNER_ROLE = "standfest_owner"
"""The role that owns the schema and changes it."""


@dataclass(frozen=True)
class DatabaseAccess:
    """How one role reaches the database: what storage needs to connect."""

    hosts: tuple[str, ...]
    """`host:port` of every server, primary or not."""
    name: str
    user: str
    password: str

    def __repr__(self) -> str:
        """Without the password: values like this end up in tracebacks."""
        return f"DatabaseAccess(hosts={self.hosts}, name={self.name!r}, user={self.user!r})"


def owner_access(topology: Topology, secrets: Secrets) -> DatabaseAccess:
    """Access of the role that owns the schema and changes it."""
    return DatabaseAccess(database_hosts(topology), DATABASE, OWNER_ROLE, secrets.password("postgres-owner"))


def app_access(topology: Topology, secrets: Secrets) -> DatabaseAccess:
    """Access of the role of API processes and workers."""
    return DatabaseAccess(database_hosts(topology), DATABASE, APP_ROLE, secrets.password("postgres-app"))


def database_hosts(topology: Topology) -> tuple[str, ...]:
    """`host:port` of every PostgreSQL server, primary or not: whoever connects looks for the primary itself."""
    return tuple(f"{node.address}:{topology.ports.postgres}" for node in topology.nodes)


def journal_members(topology: Topology, first: Node | None = None) -> tuple[str, ...]:
    """`host:port` of every member of the journal's etcd, that on the node `first` before the others."""
    nodes = sorted(topology.nodes, key=lambda node: node != first)
    return tuple(f"{node.address}:{topology.ports.journal_client}" for node in nodes)
