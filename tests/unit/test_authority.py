"""The cluster's certificates: who trusts whom, and when they are renewed."""

import datetime

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from standfest.cluster.authority import belonging_to, ends_at, is_for, issue, new_authority, split

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


def test_what_the_authority_would_issue() -> None:
    """What is for a node's addresses by this authority is as it should be; not so after a move, or by another one."""
    certificate = issue(AUTHORITY, "n1", ADDRESSES).certificate
    assert is_for(AUTHORITY, certificate, ADDRESSES)
    assert is_for(AUTHORITY, issue(AUTHORITY, "client", ()).certificate, ())
    assert not is_for(AUTHORITY, certificate, ("127.0.1.9",))
    assert not is_for(new_authority("test"), certificate, ADDRESSES)


def test_no_certificate_outlives_its_authority() -> None:
    """A certificate ends with its authority at the latest: later it would be worth nothing, and nobody warned."""
    short = new_authority("test", datetime.timedelta(days=9))
    assert ends_at(issue(short, "n1", ADDRESSES).certificate) == ends_at(short.certificate)
    assert ends_at(issue(AUTHORITY, "n1", ADDRESSES).certificate) < ends_at(AUTHORITY.certificate)


def test_the_key_says_which_of_a_bundle_signs() -> None:
    """Among several trusted authorities the one whose key is there is found, and nothing where none is."""
    other = new_authority("test")
    bundle = AUTHORITY.certificate + other.certificate
    assert split(bundle) == [AUTHORITY.certificate, other.certificate]
    assert belonging_to(other.key, bundle) == other.certificate
    assert belonging_to(new_authority("test").key, bundle) is None
