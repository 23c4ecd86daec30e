"""What runs on a node: the services by name, the address of each, and the order in which they start."""

import enum
from dataclasses import dataclass

from standfest.cluster.topology import Node, Topology, TopologyError


class Kind(enum.StrEnum):
    """What a service is; where a node has one of a kind, the service has the kind's name."""

    SUPERVISOR = "supervisor"
    ETCD = "etcd"
    """The member of Patroni's etcd."""
    JOURNAL = "journal"
    """The member of the journal's etcd: a cluster of its own, so that a full or slow journal leaves Patroni alone."""
    PATRONI = "patroni"
    POSTGRES = "postgres"
    API = "api"
    WORKER = "worker"
    AUDIT = "audit"
    DOOR = "door"


@dataclass(frozen=True)
class Service:
    """One service of one node."""

    node: str
    name: str
    kind: Kind
    address: str
    """`host:port` on which it answers."""

    @property
    def full_name(self) -> str:
        """NODE/NAME, as the commands take it."""
        return f"{self.node}/{self.name}"

    @property
    def program(self) -> str:
        """The supervised program that runs it: PostgreSQL is started and stopped by Patroni alone."""
        return Kind.PATRONI.value if self.kind is Kind.POSTGRES else self.name


def services_of(topology: Topology, node: Node) -> tuple[Service, ...]:
    """The services of `node`, in the order in which they start."""
    ports = topology.ports

    def at_node(name: str, kind: Kind, port: int) -> Service:
        return Service(node.name, name, kind, f"{node.address}:{port}")

    services = [
        at_node("supervisor", Kind.SUPERVISOR, ports.supervisor),
        at_node("etcd", Kind.ETCD, ports.etcd_client),
        at_node("journal", Kind.JOURNAL, ports.journal_client),
        at_node("patroni", Kind.PATRONI, ports.patroni),
        at_node("postgres", Kind.POSTGRES, ports.postgres),
    ]
    for index, port in enumerate(topology.api_ports(), start=1):
        services.append(at_node("api" if index == 1 else f"api-{index}", Kind.API, port))
    if topology.processes.worker:
        services.append(at_node("worker", Kind.WORKER, ports.worker))
    if topology.processes.audit:
        services.append(at_node("audit", Kind.AUDIT, ports.audit))
    door = topology.door_on(node.name)
    if door is not None:
        services.append(Service(node.name, "door", Kind.DOOR, f"{door.address}:{door.port}"))
    return tuple(services)


def programs_of(topology: Topology, node: Node) -> tuple[Service, ...]:
    """The services of `node` that its supervisor runs itself."""
    unsupervised = (Kind.SUPERVISOR, Kind.POSTGRES)
    return tuple(service for service in services_of(topology, node) if service.kind not in unsupervised)


def find_service(topology: Topology, full_name: str) -> Service:
    """The service called NODE/NAME; TopologyError lists what there is."""
    node_name, _, name = full_name.partition("/")
    services = services_of(topology, topology.node(node_name))
    for service in services:
        if service.name == name:
            return service
    known = ", ".join(service.name for service in services)
    raise TopologyError(f"there is no service '{full_name}'; on {node_name} there are {known}")
