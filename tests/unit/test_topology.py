"""The topology: what is refused, and that it survives being written and read."""

import msgspec
import pytest

from standfest.cluster.inventory import find_service, programs_of, services_of
from standfest.cluster.topology import LOCAL, Door, Journal, Topology, TopologyError
from standfest.cluster.topology_file import parse_topology, render_topology


def test_written_and_read_again_it_is_the_same() -> None:
    """A topology that is written to a file and read again has not changed."""
    assert parse_topology(render_topology(LOCAL), "file") == LOCAL


def test_only_nodes_and_doors_must_be_given() -> None:
    """A file with nodes and doors alone gets the built-in numbers for the rest."""
    nodes = "".join(f'[[nodes]]\nname = "n{n}"\naddress = "127.0.9.{n}"\n' for n in (1, 2, 3))
    parsed = parse_topology(f"doors = []\n{nodes}", "file")
    assert parsed.ports == LOCAL.ports
    assert [node.address for node in parsed.nodes] == ["127.0.9.1", "127.0.9.2", "127.0.9.3"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"nodes": LOCAL.nodes[:2]}, "3, 5 or 7"),
        ({"nodes": (*LOCAL.nodes[:2], LOCAL.nodes[0])}, "same name"),
        ({"nodes": (*LOCAL.nodes[:2], msgspec.structs.replace(LOCAL.nodes[2], address="127.0.1.1"))}, "same address"),
        ({"nodes": (*LOCAL.nodes[:2], msgspec.structs.replace(LOCAL.nodes[2], address="n3"))}, "not an IPv4 address"),
        ({"doors": (Door(name="d", node="n9", address="127.0.0.1", port=8080),)}, "not in the topology"),
        ({"doors": (LOCAL.doors[0], msgspec.structs.replace(LOCAL.doors[1], node="n1"))}, "on the same node"),
        ({"doors": (LOCAL.doors[0], msgspec.structs.replace(LOCAL.doors[1], port=8080))}, "share an address"),
        ({"ports": msgspec.structs.replace(LOCAL.ports, etcd_peer=LOCAL.ports.etcd_client)}, "same port"),
        ({"journal": Journal(quota_mib=64, size_max_mib=64)}, "must be below journal.quota_mib"),
        ({"postgres": msgspec.structs.replace(LOCAL.postgres, app_connections=101)}, "leave 40 connections"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, object], complaint: str) -> None:
    """A topology that contradicts itself is refused with the reason."""
    with pytest.raises(TopologyError, match=complaint):
        msgspec.structs.replace(LOCAL, **changes).__post_init__()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nodes = [", "not valid TOML"),
        ("nodes = []\ndoors = []\n[ports]\npostgress = 1\n", "postgress"),
        ("nodes = []\ndoors = []\n[ports]\npostgres = 80\n", "1024"),
        ("nodes = []\n", "doors"),
    ],
)
def test_a_faulty_file_is_named_with_its_fault(text: str, complaint: str) -> None:
    """The error on a faulty file names the file and what is wrong in it."""
    with pytest.raises(TopologyError, match=rf"(?s)the-file.*{complaint}"):
        parse_topology(text, "the-file")


def test_every_node_runs_what_it_should() -> None:
    """Each node has its services in starting order, a door only where the topology puts one."""
    names = {node.name: [service.name for service in services_of(LOCAL, node)] for node in LOCAL.nodes}
    common = ["supervisor", "etcd", "journal", "patroni", "postgres", "api", "worker", "audit"]
    assert names == {"n1": [*common, "door"], "n2": [*common, "door"], "n3": common}


def test_api_processes_have_a_port_each() -> None:
    """A second API process on a node has a name and a port of its own."""
    topology = msgspec.structs.replace(LOCAL, processes=msgspec.structs.replace(LOCAL.processes, api=2))
    apis = [service for service in programs_of(topology, topology.nodes[0]) if service.kind == "api"]
    assert [(service.name, service.address) for service in apis] == [
        ("api", "127.0.1.1:18000"),
        ("api-2", "127.0.1.1:18001"),
    ]


def test_a_service_is_found_by_its_full_name() -> None:
    """NODE/NAME finds the service; PostgreSQL is run by the program `patroni`."""
    assert find_service(LOCAL, "n2/postgres").program == "patroni"
    assert find_service(LOCAL, "n2/door").address == "127.0.0.1:8081"


@pytest.mark.parametrize("name", ["n3/door", "n9/api", "api", ""])
def test_an_unknown_service_is_refused(name: str) -> None:
    """A service that is not there is refused with the list of those that are."""
    with pytest.raises(TopologyError, match=r"there (is|are)"):
        find_service(LOCAL, name)


def test_the_default_is_checked_like_any_other() -> None:
    """The built-in topology passes its own checks."""
    assert Topology(nodes=LOCAL.nodes, doors=LOCAL.doors) == LOCAL
