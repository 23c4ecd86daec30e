"""Certificates and their authority end soon, on a whole cluster: warned of, and renewed under running processes."""

import asyncio
import datetime
import json
import socket
import ssl
from collections.abc import Iterator

import pytest
from cryptography import x509

from standfest.clients.attempts import Acknowledged
from standfest.clients.etcd import client_tls
from standfest.clients.orders import OrdersClient
from standfest.cluster.authority import new_authority
from standfest.cluster.secrets import Secrets
from tests.support.api import PRODUCT, order_body
from tests.support.cluster import LocalCluster, start_cluster

SCOPES = ("orders:write", "orders:read", "catalogue:write", "stock:write")
SKU = "RENEWED"
ORDER = order_body((SKU, "1"))
EVERY_S = 0.1
PROCESSES = ("api", "worker", "audit", "patroni", "postgres", "door", "supervisor")
"""What keeps its process: it reads the files at each handshake, or has none."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A cluster of its own: its authority is replaced."""
    with start_cluster() as running:
        yield running


def etcd_ports(cluster: LocalCluster) -> list[tuple[str, str, int]]:
    """Node, address and port of everything that shows a certificate."""
    ports = cluster.topology.ports
    each = (ports.etcd_client, ports.etcd_peer, ports.journal_client, ports.journal_peer)
    return [(node.name, node.address, port) for node in cluster.topology.nodes for port in each]


def shown(address: str, port: int, tls: ssl.SSLContext) -> x509.Certificate:
    """The certificate that a server shows."""
    with (
        socket.create_connection((address, port), timeout=5) as line,
        tls.wrap_socket(line, server_hostname=address) as secure,
    ):
        found = secure.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found)


def assert_all_by_one_authority(cluster: LocalCluster) -> x509.Certificate:
    """Everybody shows what its file says, issued by the only authority that is trusted; that authority."""
    kept = Secrets(cluster.home / "secrets")
    (authority,) = x509.load_pem_x509_certificates(kept.authority.read_bytes())
    tls = client_tls(kept.authority, kept.certificate("client"), kept.key("client"))
    for name, address, port in etcd_ports(cluster):
        certificate = shown(address, port, tls)
        assert certificate == x509.load_pem_x509_certificate(kept.certificate(name).read_bytes())
        certificate.verify_directly_issued_by(authority)
    return authority


def pids(cluster: LocalCluster) -> dict[str, int]:
    """Process by service, of those that keep theirs."""
    return {
        f"{node['name']}/{service['name']}": service["pid"]
        for node in cluster.look()["nodes"]
        for service in node["services"]
        if service["name"] in PROCESSES
    }


async def up_under_orders(cluster: LocalCluster, client: OrdersClient, run: str) -> int:
    """`up` while orders are placed, none of which may fail; how many those were."""
    running = asyncio.create_task(asyncio.to_thread(cluster.succeed, "up"))
    placed = 0
    while not running.done():
        outcome = await client.place(ORDER, f"{run}-{placed}")
        assert isinstance(outcome, Acknowledged), outcome
        placed += 1
        await asyncio.sleep(EVERY_S)
    await running
    return placed


def test_what_ends_soon_is_said_and_renewed_without_a_gap(cluster: LocalCluster) -> None:
    """Authority and certificates that end within days make the cluster unwell; `up` replaces all of them while orders
    flow and none fails, every server shows the new ones, and everybody goes on when only those are trusted. A renewal
    that was interrupted after the new authority had been made is brought to its end."""
    kept = Secrets(cluster.home / "secrets")
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    key = str(json.loads(cluster.succeed("client", "add", "renewing", *scopes, "--json"))["key"])
    cluster.until_well()
    before = pids(cluster)
    # As if `up` had been interrupted once it had made another authority, which here is one that ends soon.
    short = new_authority(cluster.topology.name, datetime.timedelta(days=5))
    kept.next_authority_key.write_bytes(short.key)
    kept.authority.write_bytes(kept.authority.read_bytes() + short.certificate)

    async def renew() -> None:
        async with OrdersClient([door.url for door in cluster.topology.doors], key) as client:
            assert isinstance(await client.put_products([{**PRODUCT, "sku": SKU}]), Acknowledged)
            assert isinstance(await client.put_stock([{"sku": SKU, "on_hand": "100000"}]), Acknowledged)
            first = asyncio.create_task(asyncio.to_thread(cluster.run, "up"))
            while not first.done():
                assert isinstance(await client.place(ORDER, f"first-{asyncio.get_running_loop().time()}"), Acknowledged)
                await asyncio.sleep(EVERY_S)
            said = (await first).stdout
            assert "the certificate of the cluster's authority ends on" in said
            authority = await asyncio.to_thread(assert_all_by_one_authority, cluster)
            assert authority == x509.load_pem_x509_certificate(short.certificate)
            told = await asyncio.to_thread(cluster.run, "doctor")
            assert told.returncode == 1
            assert f"{kept.directory / 'n1.pem'} says so" in told.stdout
            assert "next:     ./standfest up" in told.stdout
            assert await up_under_orders(cluster, client, "second") > 0

    asyncio.run(renew())
    authority = assert_all_by_one_authority(cluster)
    assert authority.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3000)
    assert cluster.status()["verdict"]["warnings"] == []
    assert pids(cluster) == before
    # From here on only the new authority is trusted, and every connection is made anew.
    for node in cluster.topology.nodes:
        for store in ("etcd", "journal"):
            cluster.succeed("service", "restart", f"{node.name}/{store}")
            cluster.until_well()
    assert pids(cluster) == before
    assert {path.name for path in kept.directory.glob("*next*")} == set()
