"""The only place that builds adapters: one function a plane."""

import asyncio
import contextlib
import math
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry

from standfest.catalogue.snapshot import Catalogue
from standfest.catalogue.snapshot_file import SnapshotFile
from standfest.clients.etcd import client_tls
from standfest.clients.etcd_kv import EtcdStore
from standfest.clients.etcd_maintenance import EtcdMaintenance
from standfest.domain.agreement import Merchant
from standfest.errors import StandfestError
from standfest.intake.audit.auditor import CONNECTIONS_MAX as AUDIT_CONNECTIONS
from standfest.intake.audit.auditor import Auditor
from standfest.intake.audit.entries import JournalEntries
from standfest.intake.audit.report import AuditFigures
from standfest.intake.drain import Drainer, forget_synthetic
from standfest.intake.figures import DrainFigures, IntakeFigures, ReceiptFigures, UpkeepFigures
from standfest.intake.intake import CUT_OFF_S, DIRECT_FLIGHTS, Intake
from standfest.intake.journal import Journal
from standfest.intake.journal_size import watch_size
from standfest.intake.locks import LOCK_WAIT_MS
from standfest.intake.receipt_log import receipt_log
from standfest.intake.receipts import Signer
from standfest.intake.synthetic import Synthetic
from standfest.intake.upkeep import JournalUpkeep
from standfest.intake.upkeep_plan import Limits as UpkeepLimits
from standfest.interfaces.api.app import create_app
from standfest.interfaces.api.capacity import told_capacity
from standfest.interfaces.api.dependencies import Dependency
from standfest.interfaces.api.server import listen, serve
from standfest.interfaces.api.services import Limits, Services
from standfest.interfaces.status_pages import status_pages
from standfest.sales.feed_lag import FeedLag
from standfest.sales.worker import WorkerMetrics, work
from standfest.storage.connection import DatabaseSettings, Host
from standfest.storage.database import Database
from standfest.telemetry import failpoints

ORDER_DEADLINE_S = 4.0
"""An order is answered after so long, whatever is known by then."""
ORDERS_UNDER_WAY_MAX = 768
"""While the journal elects a leader, orders of up to ORDER_DEADLINE_S are held."""
JOURNAL_CONNECTIONS_MAX = 16
"""To each member."""
JOURNAL_KEEP_ALIVE_S = 300
JOURNAL_SILENCE_S = 5.0
"""The journal is called unavailable after so long without a synthetic order."""
AUDIT_ASKS_S = 1.5
"""An audit waits so long for what API processes and other audits say."""
WORKER_CONNECTIONS = 3
INTAKE_NICE, BACKGROUND_NICE = 5, 15
"""Where processor time is short, PostgreSQL, etcd, the doors and workers go first (0): what is begun is finished before
more is taken in, and what is too much is refused quickly. What nobody waits for comes last."""


class ConfigurationUnusable(StandfestError):
    """The configuration file of an order plane's process is missing or not what it should be."""


class _Listener(msgspec.Struct, forbid_unknown_fields=True):
    listen: str

    @property
    def host(self) -> Host:
        """Address and port."""
        address, _, port = self.listen.rpartition(":")
        return Host(address, int(port))


class _Capacity(_Listener, forbid_unknown_fields=True):
    doors: int
    """How many doors share what this process takes."""


class _Audit(_Listener, forbid_unknown_fields=True):
    writers: list[str] = []
    """Addresses of this node's API processes, which say how many receipts they gave."""
    peers: list[str] = []
    """Addresses of the other nodes' audits."""


class _Database(msgspec.Struct, forbid_unknown_fields=True):
    hosts: list[str]
    name: str
    user: str
    password_file: Path


class _Journal(msgspec.Struct, forbid_unknown_fields=True):
    members: list[str]
    authority_file: Path
    certificate_file: Path
    key_file: Path
    size_max_bytes: int


class _Catalogue(msgspec.Struct, forbid_unknown_fields=True):
    snapshot_directory: Path
    age_max_s: float


class _Receipts(msgspec.Struct, forbid_unknown_fields=True):
    signing_key_file: Path
    directory: Path


class _FailPoints(msgspec.Struct, forbid_unknown_fields=True):
    file: Path


class Configuration(msgspec.Struct, forbid_unknown_fields=True):
    """What `serve api` and `serve worker` are told; the cluster's configuration renders it."""

    cluster: str
    node: str
    api: _Listener
    capacity: _Capacity
    worker: _Listener
    database: _Database
    receipts: _Receipts
    merchant: Merchant
    service: str
    journal: _Journal
    catalogue: _Catalogue
    audit: _Audit
    failpoints: _FailPoints

    @classmethod
    def from_file(cls, file: Path) -> Self:
        """Reads a TOML file.

        Raises:
            ConfigurationUnusable: it is missing, or something in it is not as expected.
        """
        try:
            return msgspec.toml.decode(file.read_bytes(), type=cls, dec_hook=_decode)
        except (OSError, msgspec.ValidationError, msgspec.DecodeError) as error:
            raise ConfigurationUnusable(f"{file}: {error}; `standfest up` writes it anew") from error


def _decode(wanted: type[object], value: object) -> object:
    """What msgspec does not decode by itself: paths."""
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"cannot decode {wanted}")


def database(configuration: Configuration) -> Database:
    """The pool of a process of the order plane; connects to nothing yet.

    Raises:
        ConfigurationUnusable: the password file cannot be read.
    """
    section = configuration.database
    try:
        password = section.password_file.read_text().strip()
    except OSError as error:
        raise ConfigurationUnusable(f"{section.password_file}: {error.strerror}; `standfest up` writes it") from error
    settings = DatabaseSettings(
        hosts=tuple(_Listener(host).host for host in section.hosts),
        name=section.name,
        user=section.user,
        password=password,
    )
    return Database(settings)


@contextlib.asynccontextmanager
async def journal_etcd(section: _Journal) -> AsyncIterator[tuple[EtcdStore, EtcdMaintenance]]:
    """The journal's etcd as a store and as members, for as long as the block lasts.

    Raises:
        ConfigurationUnusable: a file of a certificate cannot be read, or is not one.
    """
    try:
        tls = client_tls(section.authority_file, section.certificate_file, section.key_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationUnusable(f"the journal's certificates: {error}; `standfest up` writes them anew") from error
    connector = aiohttp.TCPConnector(
        limit=len(section.members) * JOURNAL_CONNECTIONS_MAX,
        limit_per_host=JOURNAL_CONNECTIONS_MAX,
        keepalive_timeout=JOURNAL_KEEP_ALIVE_S,
    )
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        yield EtcdStore(session, section.members, tls), EtcdMaintenance(session, section.members, tls)


async def serve_api(configuration: Configuration, stop: asyncio.Event) -> None:
    """Runs an API process until `stop` is set and what it has begun is finished.

    Raises:
        ConfigurationUnusable: a file cannot be read, or the address cannot be listened on.
        SigningKeyUnusable: the receipt signing key is not one.
    """
    os.nice(INTAKE_NICE)
    signer = Signer.from_file(configuration.receipts.signing_key_file)
    listener, capacity = _listen(configuration.api), _listen(configuration.capacity)
    failpoints.install(configuration.failpoints.file)
    reads = database(configuration)
    # Each has connections of its own, so that neither a queue of orders nor one of readers makes another wait.
    orders = reads.beside(connections_max=DIRECT_FLIGHTS + 1, lock_timeout_ms=LOCK_WAIT_MS)
    catalogue_reads = reads.beside(connections_max=2)
    snapshot = SnapshotFile(configuration.catalogue.snapshot_directory / f"{configuration.service}.snapshot")
    catalogue = Catalogue(catalogue_reads, snapshot)
    async with contextlib.AsyncExitStack() as stack:
        for pool in (reads, orders, catalogue_reads):
            stack.push_async_callback(pool.close)
        store, maintenance = await stack.enter_async_context(journal_etcd(configuration.journal))
        receipts = await stack.enter_async_context(receipt_log(configuration.receipts.directory, configuration.service))
        journal = Journal(store, configuration.journal.size_max_bytes)
        intake = Intake(orders, journal, deadline_s=ORDER_DEADLINE_S, under_way_max=ORDERS_UNDER_WAY_MAX, lookups=reads)
        synthetic = Synthetic(intake, configuration.merchant.currency)
        services = Services(
            node=configuration.node,
            merchant=configuration.merchant,
            catalogue=catalogue,
            intake=intake,
            database=reads,
            signer=signer,
            limits=Limits(catalogue_age_max_s=configuration.catalogue.age_max_s),
            journal_state=lambda: _journal_state(journal, synthetic),
            cut_off=lambda: min(catalogue.age_s, intake.durable_for_s) > CUT_OFF_S,
            keep_receipt=receipts.append,
            note_unanswered=receipts.note_unanswered,
            receipts_statement=receipts.statement,
            collectors=(IntakeFigures(intake, synthetic), ReceiptFigures(receipts)),
        )
        size = watch_size(journal, maintenance)
        await stack.enter_async_context(_running(stop, catalogue.run(), intake.run(), synthetic.run(), size))
        await stack.enter_async_context(told_capacity(capacity, lambda: intake.limit, configuration.capacity.doors))
        await serve(create_app(services), listener, stop)


def _listen(section: _Listener) -> socket.socket:
    try:
        return listen(section.host.address, section.host.port)
    except OSError as error:
        detail = f"cannot listen on {section.listen}: {error.strerror}; see who has it with `ss -ltnp`"
        raise ConfigurationUnusable(detail) from error


def _journal_state(journal: Journal, synthetic: Synthetic) -> Dependency:
    age_s = round(synthetic.well_for_s, 3) if math.isfinite(synthetic.well_for_s) else None
    if journal.full:
        return Dependency("journal", "unavailable", age_s, detail="it has no room for more orders")
    if synthetic.well_for_s > JOURNAL_SILENCE_S:
        return Dependency("journal", "unavailable", age_s, detail="it accepts no orders now")
    return Dependency("journal", "ok", age_s)


@contextlib.asynccontextmanager
async def _running(stop: asyncio.Event, *loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs loops that never end for as long as the block lasts; where one ends all the same, the process does."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()


async def serve_worker(configuration: Configuration, stop: asyncio.Event) -> None:
    """Runs a worker until `stop` is set and its batches are ended: the journal is drained and kept small,
    backordered orders are served, old synthetic orders forgotten.

    Raises:
        ConfigurationUnusable: a file cannot be read.
        AddressTaken: its own address cannot be listened on.
    """
    failpoints.install(configuration.failpoints.file)
    registry = CollectorRegistry()
    backorders = WorkerMetrics(registry)
    address = configuration.worker.host
    async with contextlib.AsyncExitStack() as stack:
        pool = database(configuration).beside(connections_max=WORKER_CONNECTIONS)
        drain_pool = pool.beside(connections_max=WORKER_CONNECTIONS, lock_timeout_ms=LOCK_WAIT_MS)
        for each in (pool, drain_pool):
            stack.push_async_callback(each.close)
        store, maintenance = await stack.enter_async_context(journal_etcd(configuration.journal))
        drainer = Drainer(drain_pool, Journal(store, configuration.journal.size_max_bytes))
        limits = UpkeepLimits(size_max_bytes=configuration.journal.size_max_bytes)
        upkeep = JournalUpkeep(store, maintenance, configuration.node, lambda: drain_pool.primary, limits)
        registry.register(DrainFigures(drainer))
        registry.register(UpkeepFigures(upkeep))
        await stack.enter_async_context(status_pages(registry, address.address, address.port))
        feed_lag = FeedLag(pool)
        registry.register(feed_lag)
        await stack.enter_async_context(_running(stop, forget_synthetic(pool), feed_lag.run()))
        await asyncio.gather(work(pool, backorders, stop), drainer.run(stop), upkeep.run(stop))


async def serve_audit(configuration: Configuration, stop: asyncio.Event) -> None:
    """Runs this node's audit until `stop` is set, at low priority: taking orders goes first.

    Raises:
        ConfigurationUnusable: a file cannot be read.
        AddressTaken: its own address cannot be listened on.
    """
    os.nice(BACKGROUND_NICE)
    registry = CollectorRegistry()
    address = configuration.audit.host
    async with contextlib.AsyncExitStack() as stack:
        pool = database(configuration).beside(connections_max=AUDIT_CONNECTIONS)
        stack.push_async_callback(pool.close)
        store, _ = await stack.enter_async_context(journal_etcd(configuration.journal))
        journal = JournalEntries(Journal(store, configuration.journal.size_max_bytes))
        timeout = aiohttp.ClientTimeout(total=AUDIT_ASKS_S)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, trust_env=False))
        auditor = Auditor(
            configuration.node,
            configuration.receipts.directory,
            pool,
            journal,
            session=session,
            writers=configuration.audit.writers,
            peers=configuration.audit.peers,
        )
        registry.register(AuditFigures(auditor.report))
        documents = {"/v1/audit": auditor.report}
        queries = {"/v1/audit/receipted": auditor.delta, "/v1/audit/explain": auditor.explanation}
        await stack.enter_async_context(status_pages(registry, address.address, address.port, documents, queries))
        await auditor.run(stop)
