"""etcd's configuration: one member a node, TLS with client certificates on every connection.

Options: https://etcd.io/docs/v3.4/op-guide/configuration/ (JSON is YAML).
"""

import json

from standfest.redundancy.site import Site

_QUOTA_BYTES = 512 * 1024 * 1024
"""Patroni keeps kilobytes; the quota bounds its history between two compactions."""


def render_etcd(site: Site) -> str:
    """The member's configuration file."""
    ports, address = site.topology.ports, site.node.address
    client_url = f"https://{address}:{ports.etcd_client}"
    peer_url = f"https://{address}:{ports.etcd_peer}"
    transport_security = {
        "cert-file": str(site.secrets.certificate(site.node.name)),
        "key-file": str(site.secrets.key(site.node.name)),
        "trusted-ca-file": str(site.secrets.authority),
        "client-cert-auth": True,
    }
    members = ",".join(f"{node.name}=https://{node.address}:{ports.etcd_peer}" for node in site.topology.nodes)
    settings = {
        "name": site.node.name,
        "data-dir": str(site.home.etcd),
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": members,
        "initial-cluster-state": "new",
        "initial-cluster-token": site.topology.name,
        "client-transport-security": transport_security,
        "peer-transport-security": transport_security,
        # On by default as an option, off by default in a configuration file.
        "enable-grpc-gateway": True,
        "strict-reconfig-check": True,
        # A member that was cut off must not force an election when it comes back.
        "pre-vote": True,
        "heartbeat-interval": 100,
        "election-timeout": 1000,
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "1h",
        "quota-backend-bytes": _QUOTA_BYTES,
        "snapshot-count": 10000,
        "logger": "zap",
        "log-level": "warn",
        "log-outputs": ["stderr"],
    }
    return json.dumps(settings, indent=2) + "\n"
