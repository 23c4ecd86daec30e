"""A standby is promoted only once those that could acknowledge for the old primary have left it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from standfest.clients.etcd_kv import Delete, EtcdStore, Put, Range, Txn
from standfest.cluster.promotion import PERMIT_S, claim
from tests.support.etcd import EtcdCluster
from tests.support.postgres import PostgresCluster, Server, start_cluster
from tests.support.waiting import wait_until

TIMEOUT_S = 30.0
PREFIX = b"/standfest/test/"


@pytest.fixture
def servers() -> Iterator[PostgresCluster]:
    """A primary and two standbys for this test alone."""
    with start_cluster(2) as running:
        yield running


def put(etcd: EtcdCluster, keys: dict[str, str | None]) -> None:
    """Writes keys of Patroni, or deletes them."""

    async def write() -> None:
        async with etcd.session() as session:
            store = EtcdStore(session, etcd.addresses, etcd.tls())
            for name, value in keys.items():
                key = PREFIX + name.encode()
                await store.txn(Txn((), (Delete(key) if value is None else Put(key, value.encode()),)), TIMEOUT_S)

    asyncio.run(write())


class Stage:
    """`standby_1` has the leader's key; the primary's Patroni stands still, its PostgreSQL lives."""

    def __init__(self, etcd: EtcdCluster, servers: PostgresCluster, directory: Path) -> None:
        self.etcd, self.servers = etcd, servers
        self.old, (self.new, self.voter) = servers.primary, servers.standbys
        self.permit = directory / "promote-alone"
        self.file = directory / "patroni.json"
        self.file.write_text(json.dumps(self._patroni()))
        members = {f"members/{each.name}": self._member(each) for each in servers.servers}
        sync = {"leader": self.old.name, "quorum": 1, "sync_standby": f"{self.new.name},{self.voter.name}"}
        put(etcd, {"leader": self.new.name, "sync": json.dumps(sync), **members})

    def _patroni(self) -> dict[str, object]:
        login = {"username": "postgres", "password": self.servers.password_file("postgres").read_text().strip()}
        return {
            "scope": "test",
            "namespace": "/standfest/",
            "name": self.new.name,
            "etcd3": {
                "hosts": self.etcd.addresses,
                "cacert": str(self.etcd.authority_file),
                "cert": str(self.etcd.certificate_file),
                "key": str(self.etcd.key_file),
            },
            "postgresql": {"connect_address": address(self.new), "authentication": {"superuser": login}},
        }

    def _member(self, server: Server) -> str:
        return json.dumps({"conn_url": f"postgres://{address(server)}/postgres", "state": "running"})

    @contextmanager
    def asked(self) -> Iterator[subprocess.Popen[str]]:
        """What Patroni calls before it promotes `standby_1`."""
        command = [sys.executable, "-m", "standfest.cluster.promotion", str(self.file), str(self.permit)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
            try:
                yield process
            finally:
                process.kill()

    def verdict(self) -> tuple[int, str]:
        """Its exit code, and what it said."""
        with self.asked() as process:
            said = process.communicate(timeout=TIMEOUT_S)[1]
        return process.returncode, said

    def repoint(self, server: Server, source: Server | None) -> None:
        """Lets a standby stream from another server, or from none, as Patroni does."""
        conninfo = "" if source is None else self.servers.dsn("replicator", "replication", source)
        name = f" application_name={server.name}" if conninfo else ""
        with self.connect(server) as connection:
            connection.execute(f"ALTER SYSTEM SET primary_conninfo = $${conninfo}{name}$$".encode())
            connection.execute("SELECT pg_reload_conf()")

    def connect(self, server: Server) -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection."""
        return psycopg.connect(self.servers.dsn("postgres", "postgres", server), autocommit=True)

    def streams_from(self, server: Server) -> str:
        """`host:port` of the server that it streams from."""
        with self.connect(server) as connection:
            row = connection.execute(
                "SELECT sender_host || ':' || sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'"
            ).fetchone()
        return "" if row is None else str(row[0])

    def write(self) -> None:
        """Commits on the old primary, which somebody has to acknowledge."""
        with self.servers.admin() as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000))")


def address(server: Server) -> str:
    """`host:port`."""
    return f"{server.host}:{server.port}"


@pytest.fixture
def stage(etcd: EtcdCluster, servers: PostgresCluster, tmp_path: Path) -> Stage:
    """Ready for a vote."""
    return Stage(etcd, servers, tmp_path)


def said_until(process: subprocess.Popen[str], words: str) -> str:
    """Reads what it says until these words come."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return line
    raise AssertionError(f"it ended with {process.wait()} and never said '{words}'")


def test_a_voter_that_follows_the_old_primary_still_holds_the_promotion_up(stage: Stage) -> None:
    """The candidate waits while the other standby can acknowledge for the old primary, and is promoted once it left."""
    with stage.asked() as process:
        said_until(process, f"{stage.voter.name} streams from {address(stage.old)}")
        stage.write()  # the old primary is alive, and its orders are acknowledged
        assert process.poll() is None
        stage.repoint(stage.voter, stage.new)
        said_until(process, "may be promoted")
        assert process.wait(TIMEOUT_S) == 0
    assert stage.streams_from(stage.voter) == address(stage.new)


def test_who_has_less_than_a_standby_gives_the_key_up(stage: Stage) -> None:
    """What only the other standby acknowledged is not thrown away: the candidate is not promoted."""
    stage.repoint(stage.new, None)
    wait_until(lambda: not stage.streams_from(stage.new), "the candidate receives nothing", TIMEOUT_S)
    stage.write()
    code, said = stage.verdict()
    assert code == 1
    assert "gives the leader's key up" in said


def test_without_the_leaders_key_nobody_is_promoted(stage: Stage) -> None:
    """A candidate whose key is another's by now is not promoted."""
    put(stage.etcd, {"leader": stage.voter.name})
    assert stage.verdict() == (1, f"standfest: the leader's key is {stage.voter.name}'s, not {stage.new.name}'s\n")
    put(stage.etcd, {"leader": None})
    assert stage.verdict() == (1, f"standfest: the leader's key is nobody's, not {stage.new.name}'s\n")


def test_a_quorum_of_none_waits_for_none(stage: Stage) -> None:
    """Where this standby alone could acknowledge, nobody else has to follow it."""
    put(stage.etcd, {"sync": json.dumps({"leader": stage.old.name, "quorum": 0, "sync_standby": stage.new.name})})
    assert stage.verdict()[0] == 0


def test_an_old_view_cannot_change_who_acknowledges(stage: Stage) -> None:
    """An old primary's Patroni that wakes writes `sync` only where it is as it was read, and it is not any more."""

    async def revisions() -> tuple[int, int]:
        async with stage.etcd.session() as session:
            store = EtcdStore(session, stage.etcd.addresses, stage.etcd.tls())
            (before,) = (await store.get(Range(PREFIX + b"sync"), TIMEOUT_S)).values
            await claim(store, PREFIX, stage.new.name)
            (after,) = (await store.get(Range(PREFIX + b"sync"), TIMEOUT_S)).values
            assert before.value == after.value
            return before.mod_revision, after.mod_revision

    before, after = asyncio.run(revisions())
    assert after > before


def test_a_persons_permit_counts_once(stage: Stage) -> None:
    """`standfest recover` promotes a last survivor that nobody follows; the next promotion is looked at again."""
    stage.permit.touch()
    assert stage.verdict()[0] == 0
    assert not stage.permit.exists()
    with stage.asked() as process:
        said_until(process, "waits to be promoted")


def test_a_permit_that_was_left_behind_does_not_count(stage: Stage) -> None:
    """A permit of a `standfest recover` long ago is taken away, and the voters are waited for as if there were none."""
    stage.permit.touch()
    long_ago = time.time() - 2 * PERMIT_S
    os.utime(stage.permit, (long_ago, long_ago))
    with stage.asked() as process:
        said_until(process, "waits to be promoted")
    assert not stage.permit.exists()
