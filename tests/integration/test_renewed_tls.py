"""Certificates that are replaced under running processes, against a real etcd cluster of three."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from standfest.clients.etcd import client_tls
from standfest.clients.etcd_kv import Absent, EtcdError, EtcdStore, Put, Txn
from standfest.cluster.authority import Issued, issue, new_authority
from tests.support.etcd import EtcdCluster, Member, start_etcd
from tests.support.waiting import wait_until

DEADLINE_S = 30.0
SHORT = datetime.timedelta(seconds=3)


@pytest.fixture
def etcd() -> Iterator[EtcdCluster]:
    """Three members for one test: their certificates are replaced."""
    with start_etcd() as cluster:
        yield cluster


def write(directory: Path, name: str, issued: Issued) -> None:
    """Replace a certificate and its key, each in one step, as `up` does."""
    for path, content in ((directory / f"{name}-key.pem", issued.key), (directory / f"{name}.pem", issued.certificate)):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.replace(path)


def ended(certificate: Path) -> bool:
    """Whether it is too late for a certificate."""
    end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return datetime.datetime.now(datetime.UTC) > end


def replace_authority(etcd: EtcdCluster, *authorities: Issued) -> None:
    """Trust exactly these authorities; the members read that when they start."""
    etcd.authority_file.write_bytes(b"".join(each.certificate for each in authorities))


def restart_all(etcd: EtcdCluster) -> None:
    """One member after the other: no connection that is there now is left."""
    for member in etcd.members:
        member.kill()
        etcd.restart(member)


def served_by(member: Member, tls: ssl.SSLContext) -> bytes:
    """The certificate that a member shows, DER."""
    with (
        socket.create_connection((member.host, member.client_port), timeout=5) as line,
        tls.wrap_socket(line, server_hostname=member.host) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return shown


async def put(store: EtcdStore, key: str) -> None:
    """One write that must be taken."""
    answer = await store.txn(Txn((Absent(key.encode()),), (Put(key.encode(), b"1"),)), DEADLINE_S)
    assert answer.result.succeeded


async def test_a_running_client_shows_the_certificate_that_replaced_its_own(etcd: EtcdCluster, tmp_path: Path) -> None:
    """A client that was started with a certificate which has ended since goes on with the one in its file."""
    authority = new_authority("test")
    old = Issued(etcd.authority_file.read_bytes(), b"")
    replace_authority(etcd, old, authority)
    restart_all(etcd)
    write(tmp_path, "own", issue(authority, "client", (), SHORT))
    tls = client_tls(etcd.authority_file, tmp_path / "own.pem", tmp_path / "own-key.pem")
    async with etcd.session() as session:
        store = EtcdStore(session, etcd.addresses, tls)
        await put(store, "before")
        first = tmp_path / "first.pem"
        shutil.copy(tmp_path / "own.pem", first)
        wait_until(lambda: ended(first), "the first certificate to end", DEADLINE_S)
        restart_all(etcd)
        with pytest.raises(EtcdError):
            await put(store, "ended")
        write(tmp_path, "own", issue(authority, "client", ()))
        await put(store, "renewed")


async def test_files_that_do_not_fit_leave_the_ones_before_in_use(etcd: EtcdCluster, tmp_path: Path) -> None:
    """Between the writing of a new key and that of its certificate a client goes on as before."""
    shutil.copy(etcd.certificate_file, tmp_path / "own.pem")
    shutil.copy(etcd.key_file, tmp_path / "own-key.pem")
    tls = client_tls(etcd.authority_file, tmp_path / "own.pem", tmp_path / "own-key.pem")
    (tmp_path / "own-key.pem").write_bytes(issue(new_authority("test"), "client", ()).key)
    async with etcd.session() as session:
        await put(EtcdStore(session, etcd.addresses, tls), "half")


async def test_a_member_shows_its_new_certificate_without_a_restart(etcd: EtcdCluster, tmp_path: Path) -> None:
    """etcd reads its own certificate at each handshake, and the authorities that it trusts only when it starts: trusted
    both for a time, an authority is replaced without an end of service."""
    old = Issued(etcd.authority_file.read_bytes(), b"")
    authority = new_authority("test")
    async with etcd.session() as session:
        store = EtcdStore(session, etcd.addresses, etcd.tls())
        await put(store, "old")
        replace_authority(etcd, old, authority)
        for member in etcd.members:
            member.kill()
            etcd.restart(member)
            await put(store, f"both-{member.name}")
        for member in etcd.members:
            issued = issue(authority, member.name, (member.host, "127.0.0.1"))
            write(etcd.directory, member.name, issued)
            shown = x509.load_pem_x509_certificate(issued.certificate)
            assert x509.load_der_x509_certificate(served_by(member, etcd.tls())) == shown
            await put(store, f"new-{member.name}")
        write(etcd.directory, "client", issue(authority, "client", ()))
        replace_authority(etcd, authority)
        restart_all(etcd)
        await put(store, "new")
