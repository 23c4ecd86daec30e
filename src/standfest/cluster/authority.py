"""The cluster's own certificate authority: TLS between the members of etcd and towards them."""

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_LIFE = datetime.timedelta(days=3650)
_LEAF_LIFE = datetime.timedelta(days=825)
_CLOCK_SKEW = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def new_authority(cluster: str, life: datetime.timedelta = _AUTHORITY_LIFE) -> Issued:
    """A self-signed authority for the cluster of this name, good for `life` from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{cluster} cluster authority")
    certificate = (
        _builder(name, name, key.public_key(), _now() + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def issue(
    authority: Issued, common_name: str, addresses: tuple[str, ...], life: datetime.timedelta = _LEAF_LIFE
) -> Issued:
    """A certificate for `addresses`, good for both ends of a connection: etcd members are each other's clients.

    It is good for `life` from now, and not longer than its authority.
    """
    signer = serialization.load_pem_private_key(authority.key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the cluster authority's key is not an elliptic curve key")
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    end = min(_now() + life, issuer.not_valid_after_utc)
    builder = (
        _builder(_name(common_name), issuer.subject, key.public_key(), end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if addresses:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(text)) for text in addresses])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def is_for(authority: Issued, certificate: bytes, addresses: tuple[str, ...]) -> bool:
    """Whether a leaf certificate is for exactly these addresses and comes from this authority; it may have ended."""
    leaf = x509.load_pem_x509_certificate(certificate)
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    return _addresses(leaf) == set(addresses) and _issued_by(leaf, issuer)


def ends_at(certificate: bytes) -> datetime.datetime:
    """When a certificate ends (UTC)."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def split(bundle: bytes) -> list[bytes]:
    """The certificates in a PEM file, each by itself."""
    return [found.public_bytes(serialization.Encoding.PEM) for found in x509.load_pem_x509_certificates(bundle)]


def belonging_to(key: bytes, bundle: bytes) -> bytes | None:
    """The certificate in `bundle` that is for this private key; None where none is."""
    public = serialization.load_pem_private_key(key, password=None).public_key()
    for certificate in split(bundle):
        if x509.load_pem_x509_certificate(certificate).public_key() == public:
            return certificate
    return None


def _issued_by(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    key_id = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest
    return leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == key_id


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _addresses(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {str(address) for address in extension.value.get_values_for_type(x509.IPAddress)}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, end: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(_now(), end) - _CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
