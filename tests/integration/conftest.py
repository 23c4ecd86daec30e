"""Fixtures of the integration tests: a real PostgreSQL cluster, a fresh migrated database for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from standfest.clients.etcd_kv import Delete, EtcdStore, Txn
from standfest.intake.journal import Journal
from standfest.storage.database import Database
from standfest.storage.migrate import migrate
from tests.integration.journal_path import SIZE_MAX
from tests.integration.orders import pool_of
from tests.support.api import RunningApi, running_api
from tests.support.etcd import EtcdCluster, start_etcd
from tests.support.postgres import PostgresCluster, TestDatabase, start_cluster

_clusters: list[PostgresCluster] = []
_log_starts = pytest.StashKey[dict[Path, int]]()


def _running_cluster(standbys: int) -> Iterator[PostgresCluster]:
    with start_cluster(standbys) as cluster:
        _clusters.append(cluster)
        try:
            _migrate(cluster)
            yield cluster
        finally:
            _clusters.remove(cluster)


def _migrate(cluster: PostgresCluster) -> None:
    """Bring the template database to the newest schema, contract phase included."""
    migrate(cluster.dsn("standfest_owner"), phase="contract", deadline_s=60)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A primary and one synchronous standby for the whole run; leave both running and unfrozen."""
    yield from _running_cluster(1)


@pytest.fixture(scope="session")
def postgres_two_standbys() -> Iterator[PostgresCluster]:
    """A primary and two standbys, `ANY 1 (standby_1, standby_2)`, for the whole run."""
    yield from _running_cluster(2)


@pytest.fixture
def disposable_postgres() -> Iterator[PostgresCluster]:
    """A primary and one standby for this test alone: kill what you like."""
    yield from _running_cluster(1)


@pytest.fixture
def disposable_postgres_two_standbys() -> Iterator[PostgresCluster]:
    """A primary and two standbys for this test alone: kill what you like."""
    yield from _running_cluster(2)


@pytest.fixture
def database(postgres: PostgresCluster) -> Iterator[TestDatabase]:
    """A fresh, migrated database on the shared cluster."""
    fresh = postgres.create_database()
    yield fresh
    fresh.drop()


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    """A journal's etcd for this module; leave all members running."""
    with start_etcd() as cluster:
        yield cluster


@pytest_asyncio.fixture
async def store(etcd: EtcdCluster) -> AsyncIterator[EtcdStore]:
    """The etcd as a store, without the orders of earlier tests."""
    async with etcd.session() as session:
        store = EtcdStore(session, etcd.addresses, etcd.tls())
        await store.txn(Txn((), (Delete(b"standfest/", b"standfest0"),)), 5)
        yield store


@pytest_asyncio.fixture
async def journal(store: EtcdStore) -> Journal:
    """The journal."""
    return Journal(store, SIZE_MAX)


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


@pytest.fixture(scope="module")
def api(postgres: PostgresCluster) -> Iterator[RunningApi]:
    """An API on a database of this module."""
    database = postgres.create_database()
    with running_api(database) as running:
        yield running
    database.drop()


@pytest.fixture(scope="module")
def admin(api: RunningApi) -> Iterator[httpx.Client]:
    """A client that may do everything."""
    with api.client() as client:
        yield client


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember where each server's output ends before the test."""
    servers = [server for cluster in _clusters for server in cluster.servers]
    item.stash[_log_starts] = {server.log: server.log.stat().st_size for server in servers}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach what the PostgreSQL servers printed during a failed test to its report."""
    report = yield
    if report.failed:
        starts = item.stash.get(_log_starts, {})
        for server in (server for cluster in _clusters for server in cluster.servers):
            report.sections.append((f"PostgreSQL {server.name}", server.log_tail(starts.get(server.log, 0))))
    return report
