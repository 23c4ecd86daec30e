"""The configuration of the order plane's processes: one file an API process or worker."""

import json

from standfest.cluster.access import APP_ROLE, DATABASE, database_hosts
from standfest.cluster.inventory import Kind, Service
from standfest.redundancy.site import Site


def render_order_plane(site: Site, service: Service) -> str:
    """The file that `serve api` or `serve worker` reads; JSON's strings are TOML's as well."""
    listens = {
        "api": f"{site.node.address}:{site.topology.ports.api}",
        "worker": f"{site.node.address}:{site.topology.ports.worker}",
    }
    if service.kind is Kind.API:
        listens["api"] = service.address
    tables: dict[str, dict[str, object]] = {
        "api": {"listen": listens["api"]},
        "worker": {"listen": listens["worker"]},
        "database": {
            "hosts": database_hosts(site.topology),
            "name": DATABASE,
            "user": APP_ROLE,
            "password_file": str(site.secrets.directory / "postgres-app"),
        },
        "receipts": {"signing_key_file": str(site.secrets.receipt_signing_key)},
        "merchant": {"country": site.topology.merchant.country, "currency": site.topology.merchant.currency},
    }
    lines = [f"cluster = {json.dumps(site.topology.name)}", f"node = {json.dumps(site.node.name)}"]
    for table, entries in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    return "\n".join(lines) + "\n"
