"""The cluster's certificates: who trusts whom, and when they are renewed."""

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from standfest.cluster.authority import issue, must_be_renewed, new_authority

AUTHORITY = new_authority("test")
ADDRESSES = ("127.0.1.1", "127.0.0.1")


def test_a_node_is_server_and_client() -> None:
    """A node's certificate is for its addresses, comes from the authority, and serves both ends of a connection."""
    leaf = x509.load_pem_x509_certificate(issue(AUTHORITY, "n1", ADDRESSES).certificate)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(AUTHORITY.certificate))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == set(ADDRESSES)
    usages = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert usages == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_another_authority_did_not_issue_it() -> None:
    """A certificate of one cluster is worth nothing in another."""
    leaf = x509.load_pem_x509_certificate(issue(AUTHORITY, "n1", ADDRESSES).certificate)
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(new_authority("test").certificate))


def test_a_fresh_certificate_is_kept() -> None:
    """A certificate that is valid for long and for the right addresses is not renewed."""
    assert not must_be_renewed(AUTHORITY, issue(AUTHORITY, "n1", ADDRESSES).certificate, ADDRESSES)
    assert not must_be_renewed(AUTHORITY, issue(AUTHORITY, "client", ()).certificate, ())


def test_other_addresses_or_another_authority_mean_renewal() -> None:
    """A node that moved, or a new authority, needs a new certificate."""
    certificate = issue(AUTHORITY, "n1", ADDRESSES).certificate
    assert must_be_renewed(AUTHORITY, certificate, ("127.0.1.9",))
    assert must_be_renewed(new_authority("test"), certificate, ADDRESSES)
