"""The cluster's credentials: generated at first start, kept in files of mode 0600, read where they are needed."""

import datetime
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from standfest.cluster.authority import Issued, belonging_to, ends_at, is_for, issue, new_authority
from standfest.cluster.home import write_private
from standfest.cluster.topology import Topology
from standfest.errors import StandfestError

_PASSWORD_BYTES = 24

CLIENT = "client"
"""Holder of the certificate of those who only connect."""

RENEWED_BEFORE = datetime.timedelta(days=30)
"""What ends within this time is renewed by the next `up`, and warned of."""

PASSWORDS = (
    "postgres-superuser",
    "postgres-replicator",
    "postgres-rewinder",
    "postgres-owner",
    "postgres-app",
    "patroni-rest",
    "supervisor",
    "door-stats",
)
"""Names of the password files. Hexadecimal, so that they need no quoting in any configuration format."""


class SecretMissingError(StandfestError):
    """A credential that should be in the home is not there or cannot be read."""

    exit_code = 2


class AuthorityEndedError(StandfestError):
    """The authority is of no use any more, and what runs trusts no other one."""


@dataclass(frozen=True)
class Secrets:
    """Access to the directory of generated credentials."""

    directory: Path

    def password(self, name: str) -> str:
        """The password called `name`, one of PASSWORDS."""
        path = self.directory / name
        try:
            return path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise SecretMissingError(f"cannot read {path}: {error.strerror}; `./standfest up` generates it") from error

    @property
    def authority(self) -> Path:
        """The authorities that are trusted: the cluster's own, and while it is renewed its successor as well."""
        return self.directory / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """The private key of the authority that signs; which of those in `authority` that is, the key says."""
        return self.directory / "ca-key.pem"

    @property
    def next_authority_key(self) -> Path:
        """The private key of its successor, from the moment in which it is made until it signs."""
        return self.directory / "ca-next-key.pem"

    @property
    def receipt_signing_key(self) -> Path:
        """Ed25519 private key (PKCS8, PEM) that signs receipts."""
        return self.directory / "receipt-signing-key.pem"

    def certificate(self, holder: str) -> Path:
        """Certificate of a node, or of CLIENT for those who only connect."""
        return self.directory / f"{holder}.pem"

    def key(self, holder: str) -> Path:
        """Private key that belongs to `certificate(holder)`."""
        return self.directory / f"{holder}-key.pem"


def generate(kept: Secrets, topology: Topology, *, idle: bool = False) -> None:
    """Make every credential that is missing, ended, for other addresses, or by another authority.

    Args:
        kept: where they are kept.
        topology: whose nodes have certificates.
        idle: nothing of the cluster runs, so that what ends soon can be renewed as well, all at once.

    Raises:
        AuthorityEndedError: the authority has ended or lost its key while the cluster runs.
    """
    for name in PASSWORDS:
        if not (kept.directory / name).exists():
            write_private(kept.directory / name, secrets.token_hex(_PASSWORD_BYTES) + "\n")
    if not kept.receipt_signing_key.exists():
        write_private(kept.receipt_signing_key, _new_signing_key())
    before = datetime.datetime.now(datetime.UTC) + (RENEWED_BEFORE if idle else datetime.timedelta(0))
    signer = signing_authority(kept)
    if signer is None or ends_at(signer.certificate) < before:
        if kept.authority.exists() and not idle:
            raise AuthorityEndedError(
                f"the cluster's authority in {kept.authority} has ended, or its key is not there, and what runs trusts "
                "no other: no new connection to etcd is made. Stop everything with: ./standfest down; then "
                "./standfest up makes a new authority"
            )
        signer = new_authority(topology.name)
        write_private(kept.authority_key, signer.key)
        write_private(kept.authority, signer.certificate)
        kept.next_authority_key.unlink(missing_ok=True)
    for holder in (CLIENT, *(node.name for node in topology.nodes)):
        if is_due(kept, signer, topology, holder, before):
            certify(kept, signer, topology, holder)


def signing_authority(kept: Secrets) -> Issued | None:
    """The authority that signs; None where it was never made, or its key is not that of a certificate."""
    if not (kept.authority.exists() and kept.authority_key.exists()):
        return None
    key = kept.authority_key.read_bytes()
    certificate = belonging_to(key, kept.authority.read_bytes())
    return None if certificate is None else Issued(certificate, key)


def is_due(kept: Secrets, signer: Issued, topology: Topology, holder: str, before: datetime.datetime) -> bool:
    """Whether the holder's certificate is missing, ends before a moment, or is not what `signer` would issue."""
    certificate, key = kept.certificate(holder), kept.key(holder)
    if not (certificate.exists() and key.exists()):
        return True
    found = certificate.read_bytes()
    return ends_at(found) < before or not is_for(signer, found, _certified_addresses(topology, holder))


def certify(kept: Secrets, signer: Issued, topology: Topology, holder: str) -> None:
    """Issue the holder's certificate anew. Between the two files they do not fit each other: see clients/tls.py."""
    issued = issue(signer, holder, _certified_addresses(topology, holder))
    write_private(kept.key(holder), issued.key)
    write_private(kept.certificate(holder), issued.certificate)


def _certified_addresses(topology: Topology, holder: str) -> tuple[str, ...]:
    """etcd compares a peer's source address with its certificate, and on loopback that is always 127.0.0.1."""
    if holder == CLIENT:
        return ()
    address = topology.node(holder).address
    return (address, "127.0.0.1") if ipaddress.ip_address(address).is_loopback else (address,)


def _new_signing_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
