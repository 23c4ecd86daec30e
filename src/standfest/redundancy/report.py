"""The answer of `standfest status --json`: a contract that drills and other programs rely on."""

from standfest.cluster.observation import Observation, SeenService
from standfest.cluster.topology import Topology
from standfest.redundancy.verdict import Verdict


def status_document(topology: Topology, seen: Observation, verdict: Verdict) -> dict[str, object]:
    """The status as JSON values."""
    ports = topology.ports
    return {
        "verdict": {
            "up": verdict.up,
            "can_lose_a_node": verdict.can_lose_a_node,
            "reasons": list(verdict.reasons),
            "warnings": list(verdict.warnings),
        },
        "endpoints": {
            "doors": [door.url for door in topology.doors],
            "api": [f"http://{node.address}:{port}" for node in topology.nodes for port in topology.api_ports()],
            "postgres": [f"{node.address}:{ports.postgres}" for node in topology.nodes],
            "patroni": [f"http://{node.address}:{ports.patroni}" for node in topology.nodes],
            "etcd": [f"https://{node.address}:{ports.etcd_client}" for node in topology.nodes],
            "journal": [f"https://{node.address}:{ports.journal_client}" for node in topology.nodes],
        },
        "nodes": [
            {
                "name": node.name,
                "address": node.address,
                "services": [_service(service) for service in node.services],
            }
            for node in seen.nodes
        ],
    }


def _service(service: SeenService) -> dict[str, object]:
    return {
        "name": service.name,
        "state": service.state.value,
        "pid": service.pid,
        "role": service.role.value if service.role else None,
        "address": service.address,
        "held": service.held,
    }
