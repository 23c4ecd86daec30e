"""The cluster's credentials: generated at first start, kept in files of mode 0600, read where they are needed."""

import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from standfest.cluster.authority import Issued, issue, must_be_renewed, new_authority
from standfest.cluster.home import write_private
from standfest.cluster.topology import Topology
from standfest.errors import StandfestError

_PASSWORD_BYTES = 24

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
        """The cluster authority's certificate."""
        return self.directory / "ca.pem"

    @property
    def receipt_signing_key(self) -> Path:
        """Ed25519 private key (PKCS8, PEM) that signs receipts."""
        return self.directory / "receipt-signing-key.pem"

    def certificate(self, holder: str) -> Path:
        """Certificate of a node, or of `client` for those who only connect."""
        return self.directory / f"{holder}.pem"

    def key(self, holder: str) -> Path:
        """Private key that belongs to `certificate(holder)`."""
        return self.directory / f"{holder}-key.pem"


def generate(kept: Secrets, topology: Topology) -> None:
    """Make every credential that is missing, and renew certificates that end soon or are for other addresses."""
    for name in PASSWORDS:
        if not (kept.directory / name).exists():
            write_private(kept.directory / name, secrets.token_hex(_PASSWORD_BYTES) + "\n")
    if not kept.receipt_signing_key.exists():
        write_private(kept.receipt_signing_key, _new_signing_key())
    authority = _authority(kept, topology.name)
    _certify(kept, authority, "client", ())
    for node in topology.nodes:
        _certify(kept, authority, node.name, _certified_addresses(node.address))


def _certified_addresses(address: str) -> tuple[str, ...]:
    """etcd compares a peer's source address with its certificate, and on loopback that is always 127.0.0.1."""
    return (address, "127.0.0.1") if ipaddress.ip_address(address).is_loopback else (address,)


def _authority(kept: Secrets, cluster: str) -> Issued:
    key_path = kept.directory / "ca-key.pem"
    if not (kept.authority.exists() and key_path.exists()):
        made = new_authority(cluster)
        write_private(key_path, made.key)
        write_private(kept.authority, made.certificate)
    return Issued(kept.authority.read_bytes(), key_path.read_bytes())


def _certify(kept: Secrets, authority: Issued, holder: str, addresses: tuple[str, ...]) -> None:
    certificate, key = kept.certificate(holder), kept.key(holder)
    if certificate.exists() and key.exists() and not must_be_renewed(authority, certificate.read_bytes(), addresses):
        return
    issued = issue(authority, f"{holder}", addresses)
    write_private(key, issued.key)
    write_private(certificate, issued.certificate)


def _new_signing_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
