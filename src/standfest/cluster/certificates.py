"""Certificates that end are renewed under running processes, node by node.

Who connects reads its files at each handshake (clients/tls.py, and Patroni by urllib3), and so does etcd its own
certificate. Only the authorities that it trusts are read by etcd when it starts. So a certificate is renewed by
replacing its files, and the authority in four steps: the file trusts both; each member is restarted, until it takes a
certificate of the new one; the new one signs, and all certificates are issued again; the file forgets the old one, and
so does each member at its next start. What has been reached is looked up, so that `up` may be interrupted anywhere.
"""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from standfest.clients.asking import UnreachableError
from standfest.clients.etcd import client_tls
from standfest.cluster.authority import Issued, belonging_to, ends_at, issue, new_authority, split
from standfest.cluster.handle import Cluster
from standfest.cluster.holds import is_held
from standfest.cluster.home import write_private
from standfest.cluster.inventory import Kind, Service, services_of
from standfest.cluster.renewal import restart_service
from standfest.cluster.rolling import one_by_one
from standfest.cluster.secrets import (
    CLIENT,
    RENEWED_BEFORE,
    Secrets,
    certify,
    is_due,
    signing_authority,
)
from standfest.cluster.waiting import Progress, until

_PROBE = "next-client"
"""Holder of a certificate by an authority that does not sign yet: whoever takes it trusts that authority."""

_CONNECT_S = 5.0
_ETCDS = (Kind.ETCD, Kind.JOURNAL)


async def renew_certificates(cluster: Cluster, timeout_s: float, progress: Progress) -> None:
    """Renew what ends within RENEWED_BEFORE, while everything runs on; the authority first.

    NotReadyError where a member does not come back, or not all of them are well: what was not done is done by the next
    `up`, and nothing that is in use was taken away.
    """
    kept, topology = cluster.secrets, cluster.topology
    before = datetime.datetime.now(datetime.UTC) + RENEWED_BEFORE
    signer = signing_authority(kept)
    if signer is None:
        return  # `generate` makes one before anything starts
    if ends_at(signer.certificate) < before or kept.next_authority_key.exists():
        signer = await _succeed(cluster, signer, timeout_s, progress)
    for holder in (*(node.name for node in topology.nodes), CLIENT):
        if is_due(kept, signer, topology, holder, before):
            certify(kept, signer, topology, holder)
            await until(f"the new certificate of {holder} in use", _Shown(cluster, holder).missing, timeout_s, progress)
    if split(kept.authority.read_bytes()) != [signer.certificate]:
        write_private(kept.authority, signer.certificate)


async def _succeed(cluster: Cluster, signer: Issued, timeout_s: float, progress: Progress) -> Issued:
    """Let a new authority sign, once every member of both etcd clusters trusts it as well as the one before."""
    successor = _successor(cluster.secrets, cluster.topology.name, signer)
    with _certified_by(successor, cluster.secrets) as tls:
        due = [service for service in _members(cluster) if not await _takes(cluster, service, tls)]

    async def restart(service: Service) -> None:
        await restart_service(cluster, service, timeout_s, progress)

    await one_by_one(due, lambda _: _Well(cluster).missing(), restart, timeout_s, progress)
    cluster.secrets.next_authority_key.replace(cluster.secrets.authority_key)
    return successor


def _successor(kept: Secrets, name: str, signer: Issued) -> Issued:
    """The next authority, trusted already besides the one that signs; made where there is none."""
    if kept.next_authority_key.exists():
        key = kept.next_authority_key.read_bytes()
        certificate = belonging_to(key, kept.authority.read_bytes())
        if certificate is not None:
            return Issued(certificate, key)
    made = new_authority(name)
    write_private(kept.next_authority_key, made.key)
    write_private(kept.authority, signer.certificate + made.certificate)
    return made


def _members(cluster: Cluster, node_name: str | None = None) -> Sequence[Service]:
    """The members of both etcd clusters that are not held, node by node."""
    return [
        service
        for node in cluster.topology.nodes
        if node_name in (None, node.name)
        for service in services_of(cluster.topology, node)
        if service.kind in _ETCDS and not is_held(cluster.node_home(node), service.program)
    ]


@contextlib.contextmanager
def _certified_by(authority: Issued, kept: Secrets) -> Iterator[ssl.SSLContext]:
    """TLS with a certificate by an authority that does not sign yet."""
    issued = issue(authority, _PROBE, ())
    files = {kept.key(_PROBE): issued.key, kept.certificate(_PROBE): issued.certificate}
    try:
        for file, content in files.items():
            write_private(file, content)
        yield client_tls(kept.authority, kept.certificate(_PROBE), kept.key(_PROBE))
    finally:
        for file in files:
            file.unlink(missing_ok=True)


async def _takes(cluster: Cluster, service: Service, tls: ssl.SSLContext) -> bool:
    """Whether a member serves one who connects like this."""
    try:
        return (await cluster.asker.ask("GET", f"https://{service.address}/version", tls=tls)).status == 200
    except UnreachableError:
        return False


@dataclass(frozen=True)
class _Well:
    """Looks whether every member of both etcd clusters can commit, held ones included: one may be away for a moment."""

    cluster: Cluster

    async def missing(self) -> str:
        """Which one cannot, for `until`."""
        topology = self.cluster.topology
        services = [each for node in topology.nodes for each in services_of(topology, node) if each.kind in _ETCDS]
        reasons = await asyncio.gather(*(_unwell(self.cluster, service) for service in services))
        return "; ".join(reason for reason in reasons if reason)


@dataclass(frozen=True)
class _Shown:
    """Looks whether the members on a node show its new certificate, or for CLIENT whether all take that one."""

    cluster: Cluster
    holder: str

    async def missing(self) -> str:
        """Which one does not, for `until`."""
        node = None if self.holder == CLIENT else self.holder
        reasons = [await self._missing(service) for service in _members(self.cluster, node)]
        return "; ".join(reason for reason in reasons if reason)

    async def _missing(self, service: Service) -> str:
        if reason := await _unwell(self.cluster, service):
            return reason
        if self.holder == CLIENT:
            return ""
        file = self.cluster.secrets.certificate(self.holder)
        wanted = x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(serialization.Encoding.DER)
        shown = await _shown(service.address, self.cluster.tls)
        return "" if shown == wanted else f"{service.full_name} does not show {file}"


async def _unwell(cluster: Cluster, service: Service) -> str:
    status = await cluster.maintenance.member_status(service.address, cluster.asker.timeout_s)
    return "" if status.healthy else f"{service.full_name} is not well: {status.reason}"


async def _shown(address: str, tls: ssl.SSLContext) -> bytes | None:
    """The certificate that a server shows (DER); None where it shows none in time."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, int(port), ssl=tls, server_hostname=host)
    except (OSError, TimeoutError):
        return None
    secure: ssl.SSLObject = writer.get_extra_info("ssl_object")
    shown = secure.getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return shown
