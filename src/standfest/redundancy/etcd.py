"""Configuration of both etcd clusters: Patroni's and the journal's, one member of each a node.

TLS with client certificates on every connection. Options: https://etcd.io/docs/v3.4/op-guide/configuration/ (JSON is
YAML).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from standfest.redundancy.site import Site

_MIB = 1024 * 1024

_PATRONI_QUOTA_BYTES = 512 * _MIB
"""Patroni keeps kilobytes; the quota bounds its history between two compactions."""


@dataclass(frozen=True)
class Member:
    """What the node's members of the two clusters do not have in common."""

    data: Path
    client_port: int
    peer_port: int
    token: str
    """Keeps the members of one cluster from ever taking those of another for their own."""
    quota_bytes: int
    election_timeout_ms: int
    compacted_hours: int | None
    """Hours of history that etcd keeps by itself; None where somebody else compacts."""


def patroni_member(site: Site) -> Member:
    """The member of the cluster in which Patroni agrees on a primary."""
    ports = site.topology.ports
    return Member(
        data=site.home.etcd,
        client_port=ports.etcd_client,
        peer_port=ports.etcd_peer,
        token=site.topology.name,
        quota_bytes=_PATRONI_QUOTA_BYTES,
        election_timeout_ms=1000,
        compacted_hours=1,
    )


def journal_member(site: Site) -> Member:
    """The member of the cluster that takes orders while the primary database is away."""
    ports = site.topology.ports
    return Member(
        data=site.home.journal,
        client_port=ports.journal_client,
        peer_port=ports.journal_peer,
        token=f"{site.topology.name}-journal",
        quota_bytes=site.topology.journal.quota_mib * _MIB,
        # Orders wait while a new leader is chosen: 0.5 to 1.1 s after the last one's death. etcd's own tests exercise
        # 500 ms, and not less. On two cores with a load of 45 no leader was lost in half an hour.
        election_timeout_ms=500,
        # Workers compact, by revision and often: an hour of orders would not fit.
        compacted_hours=None,
    )


def render_etcd(site: Site, member: Member) -> str:
    """The member's configuration file."""
    address = site.node.address
    client_url = f"https://{address}:{member.client_port}"
    peer_url = f"https://{address}:{member.peer_port}"
    transport_security = {
        "cert-file": str(site.secrets.certificate(site.node.name)),
        "key-file": str(site.secrets.key(site.node.name)),
        "trusted-ca-file": str(site.secrets.authority),
        "client-cert-auth": True,
    }
    members = ",".join(f"{node.name}=https://{node.address}:{member.peer_port}" for node in site.topology.nodes)
    settings: dict[str, object] = {
        "name": site.node.name,
        "data-dir": str(member.data),
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": members,
        "initial-cluster-state": "new",
        "initial-cluster-token": member.token,
        "client-transport-security": transport_security,
        "peer-transport-security": transport_security,
        # On by default as an option, off by default in a configuration file.
        "enable-grpc-gateway": True,
        "strict-reconfig-check": True,
        # A member that was cut off must not force an election when it comes back.
        "pre-vote": True,
        "heartbeat-interval": 100,
        "election-timeout": member.election_timeout_ms,
        "quota-backend-bytes": member.quota_bytes,
        "snapshot-count": 10000,
        "logger": "zap",
        "log-level": "warn",
        "log-outputs": ["stderr"],
    }
    if member.compacted_hours is not None:
        settings |= {"auto-compaction-mode": "periodic", "auto-compaction-retention": f"{member.compacted_hours}h"}
    return json.dumps(settings, indent=2) + "\n"
