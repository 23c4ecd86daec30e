"""The real API on a real database, in a thread of the test process, for tests that speak HTTP to it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfest.catalogue.clients import add_client
from standfest.catalogue.snapshot import Catalogue
from standfest.clients.etcd_kv import Delete, EtcdError, EtcdStore, Txn
from standfest.domain.agreement import Merchant
from standfest.intake.intake import DIRECT_FLIGHTS, Intake
from standfest.intake.journal import Journal
from standfest.intake.locks import LOCK_WAIT_MS
from standfest.intake.receipts import Signer
from standfest.interfaces.api.app import create_app
from standfest.interfaces.api.edge import Edge
from standfest.interfaces.api.server import listen, serve
from standfest.interfaces.api.services import Limits, Services
from standfest.storage.connection import DatabaseSettings, Host
from standfest.storage.database import Database
from tests.support.etcd import EtcdCluster, start_etcd
from tests.support.postgres import TestDatabase

_JOURNAL_ATTEMPT_S = 0.4
ADDRESS = "127.0.25.1"
START_TIMEOUT_S = 10.0

PRODUCT: dict[str, Any] = {
    "sku": "apple",
    "name": {"de": "Apfel", "en": "Apple"},
    "unit": "piece",
    "unit_decimals": 0,
    "net_price": "2.55",
    "tax_class": "reduced",
    "active": True,
    "stock_policy": "tracked",
}
ADDRESS_BODY: dict[str, Any] = {
    "name": "Ada",
    "street": "Weg 1",
    "postal_code": "10115",
    "city": "Berlin",
    "country": "DE",
}


def order_body(*lines: tuple[str, str], **more: Any) -> dict[str, Any]:
    """The body of an order of (sku, quantity) lines."""
    return {
        "customer": {"name": "Ada"},
        "ship_to": ADDRESS_BODY,
        "currency": "EUR",
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines],
        **more,
    }


@dataclass(frozen=True)
class RunningApi:
    """An API that answers at `url`."""

    url: str
    api: Edge
    services: Services
    database: TestDatabase
    stop: Callable[[], object]
    """What SIGTERM does."""

    def key(self, *scopes: str) -> str:
        """A fresh key of a fresh client with these scopes."""
        with psycopg.connect(self.database.dsn("standfest_owner")) as connection:
            return add_client(connection, f"client {uuid4()}", scopes or ("admin",))[1].text

    def client(self, *scopes: str) -> httpx.Client:
        """An HTTP client with a fresh key of these scopes (`admin` unless told); close it."""
        headers = {"Authorization": f"Bearer {self.key(*scopes)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def count_rows(self) -> dict[str, int]:
        """Rows of every table that the API writes, and the sums that a change of a row would move."""
        tables = (
            "product",
            "stock",
            "orders",
            "order_line",
            "order_event",
            "order_command",
            "stock_movement",
            "change",
        )
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        sums = "(SELECT coalesce(sum(version), 0) FROM product), (SELECT coalesce(sum(version), 0) FROM stock)"
        with psycopg.connect(self.database.dsn("standfest_owner")) as connection:
            row = connection.execute(f"SELECT {counts}, {sums}".encode()).fetchone()
        assert row is not None
        return dict(zip((*tables, "product versions", "stock versions"), row, strict=True))


@functools.cache
def shared_journal() -> EtcdCluster:
    """A journal's etcd for the rest of the run, for tests that leave it alone: it dies with this process."""
    cluster = start_etcd()
    atexit.register(cluster.close)
    return cluster


@contextlib.asynccontextmanager
async def open_journal(etcd: EtcdCluster, size_max_bytes: int = 2**29) -> AsyncIterator[Journal]:
    """A journal in this etcd."""
    async with etcd.session() as session:
        yield Journal(EtcdStore(session, etcd.addresses, etcd.tls(), _JOURNAL_ATTEMPT_S), size_max_bytes)


@contextlib.contextmanager
def running_api(
    database: TestDatabase,
    *,
    etcd: EtcdCluster | None = None,
    order_deadline_s: float = 5,
    drain_s: float = 0,
    **limits: Any,
) -> Iterator[RunningApi]:
    """An API on `database` until the end of the block; its journal is `etcd`, or one that is shared."""
    members = etcd or shared_journal()  # started by this thread: they die with the one that started them
    listener = listen(ADDRESS, 0)
    url = f"http://{ADDRESS}:{listener.getsockname()[1]}"
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Edge, Services]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            pool = Database(_settings(database))
            orders = pool.beside(DIRECT_FLIGHTS + 1, lock_timeout_ms=LOCK_WAIT_MS)
            stack.push_async_callback(pool.close)
            stack.push_async_callback(orders.close)
            journal = await stack.enter_async_context(open_journal(members))
            catalogue = Catalogue(pool)
            intake = Intake(orders, journal, deadline_s=order_deadline_s, under_way_max=64, lookups=pool)
            services = Services(
                node="n1",
                merchant=Merchant("DE", "EUR"),
                catalogue=catalogue,
                intake=intake,
                database=pool,
                signer=Signer(Ed25519PrivateKey.generate()),
                limits=replace(Limits(), **limits),
            )
            api = create_app(services)
            loops = [asyncio.create_task(catalogue.run()), asyncio.create_task(intake.run())]
            await catalogue.refresh_now()
            started.set_result((asyncio.get_running_loop(), stop, api, services))
            try:
                await serve(api, listener, stop, drain_s=drain_s, finish_s=10)
            finally:
                for loop in loops:
                    loop.cancel()
                await _forget_entries(journal)

    thread = threading.Thread(target=lambda: uvloop.run(run()), name="api")
    thread.start()
    loop, stop, api, services = started.result(START_TIMEOUT_S)
    try:
        _wait_ready(url)
        yield RunningApi(url, api, services, database, lambda: loop.call_soon_threadsafe(stop.set))
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()


async def _forget_entries(journal: Journal) -> None:
    """Deletes what this API left in the shared journal: nobody drains it, and other APIs would go behind it."""
    with contextlib.suppress(EtcdError):
        await journal._store.txn(Txn((), (Delete(b"standfest/", b"standfest0"),)), 5)


def _wait_ready(url: str) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=3)) as client:
        assert client.get(f"{url}/readyz").status_code == 200


def _settings(database: TestDatabase) -> DatabaseSettings:
    password = database.password_file("standfest_app").read_text().strip()
    return DatabaseSettings((Host(database.host, database.port),), database.name, "standfest_app", password)
