"""The configuration of the order plane's processes: one file a process."""

import json

from standfest.cluster.access import APP_ROLE, DATABASE, database_hosts, journal_members
from standfest.cluster.inventory import Kind, Service
from standfest.redundancy.site import Site


def render_order_plane(site: Site, service: Service) -> str:
    """The file that `serve api`, `serve worker` or `serve audit` reads; JSON's strings are TOML's as well."""
    address, ports, topology = site.node.address, site.topology.ports, site.topology
    api_port = int(service.address.rpartition(":")[2]) if service.kind is Kind.API else ports.api
    tables: dict[str, dict[str, object]] = {
        "api": {"listen": f"{address}:{api_port}"},
        "capacity": {"listen": f"{address}:{topology.capacity_port(api_port)}", "doors": len(topology.doors)},
        "worker": {"listen": f"{address}:{ports.worker}"},
        "audit": {
            "listen": f"{address}:{ports.audit}",
            "writers": [f"{address}:{port}" for port in topology.api_ports()],
            "peers": [f"{node.address}:{ports.audit}" for node in topology.nodes if node != site.node],
        },
        "database": {
            "hosts": database_hosts(topology),
            "name": DATABASE,
            "user": APP_ROLE,
            "password_file": str(site.secrets.directory / "postgres-app"),
        },
        "journal": {
            "members": journal_members(topology, site.node),
            "authority_file": str(site.secrets.authority),
            "certificate_file": str(site.secrets.certificate("client")),
            "key_file": str(site.secrets.key("client")),
            "size_max_bytes": topology.journal.size_max_mib * 1024 * 1024,
        },
        "catalogue": {
            "snapshot_directory": str(site.home.catalogue),
            "age_max_s": topology.catalogue.age_max_s,
        },
        "receipts": {
            "signing_key_file": str(site.secrets.receipt_signing_key),
            "directory": str(site.home.receipts),
        },
        "failpoints": {"file": str(site.home.run / "failpoints")},
        "merchant": {"country": topology.merchant.country, "currency": topology.merchant.currency},
    }
    names = {"cluster": topology.name, "node": site.node.name, "service": service.name}
    lines = [f"{key} = {json.dumps(name)}" for key, name in names.items()]
    for table, entries in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    return "\n".join(lines) + "\n"
