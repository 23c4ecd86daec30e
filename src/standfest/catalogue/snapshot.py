"""The catalogue in memory: products, and the keys that let clients in, refreshed about every second.

A refresh reads the products that a transaction at or above the last *horizon* wrote: the oldest transaction
that was running when the catalogue was last read. A change that commits late has a transaction id at or above
it, so it is never skipped.

What was read is kept on disk as well, where a file is given: a process starts from it, and needs no database then.
"""

import asyncio
import contextlib
import hmac
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog

from standfest.catalogue.keeping import SnapshotKeeper
from standfest.catalogue.keys import Client, hash_secret, parse_key
from standfest.catalogue.moment import Moment, now_s
from standfest.catalogue.products import page
from standfest.catalogue.snapshot_file import SnapshotFile
from standfest.catalogue.snapshot_format import Contents, KeyRecord, Position
from standfest.domain.products import Product
from standfest.errors import StandfestError
from standfest.storage.connection import Connection
from standfest.storage.database import Database
from standfest.storage.statements import statement
from standfest.telemetry.failures import facts_of

REFRESH_INTERVAL_S = 1.0
SPACING_S, SPACING_MIN_S, SPACING_TIMES = 0.2, 0.02, 10
"""Refreshes that are asked for are ten times as far apart as the last one took, within these bounds: who orders what is
not known waits for one."""
PAGE = 1_000
PRODUCTS_MAX = 1_000_000
KEYS_MAX = 20_000
_REFRESH_DEADLINE_S = 3.0
_LOAD_DEADLINE_S = 30.0
_STALE_S = 10.0  # after so long without success there may be everything to read, which takes longer
_NO_HASH = bytes(32)

_log = structlog.get_logger()


class CatalogueTooLarge(StandfestError):
    """There are more products or keys than a process keeps in memory."""


class _Key(msgspec.Struct, frozen=True):
    secret_hash: bytes
    client: Client


class _Read(msgspec.Struct):
    """What a refresh has read, to be taken over once it is proven."""

    position: Position
    key_rows: list[Any]
    everything: bool
    """Whether all products were read, and not only those that changed."""
    products: dict[str, Product] = {}
    """All of them, or those that differ from what is known."""
    differs: bool = False


class Catalogue:
    """What intake needs to know of products and clients. `run` keeps it fresh."""

    def __init__(self, database: Database, snapshot: SnapshotFile | None = None) -> None:
        """
        Args:
            database: where it is read; best a pool of its own, so that orders in a queue do not make it age.
            snapshot: the file that `run` begins with and keeps up to date.
        """
        self._database = database
        self._keeper = None if snapshot is None else SnapshotKeeper(snapshot)
        self._products: dict[str, Product] = {}
        self._keys: dict[str, _Key] = {}
        self._key_records: Sequence[KeyRecord] = ()
        self._key_rows: list[Any] | None = None
        self._position = Position("0", "")
        self._read_at_s: float | None = None
        self._revision = 0
        self._asked = asyncio.Event()
        self._unanswered = False
        self._failures = 0
        self._waiting: asyncio.Future[bool] | None = None

    @property
    def products(self) -> Mapping[str, Product]:
        """SKU -> product, inactive ones too."""
        return self._products

    @property
    def age_s(self) -> float:
        """Seconds since what is here was last proven to be what the database has; infinite before the first time.

        It counts from the moment at which the reading began.
        """
        return math.inf if self._read_at_s is None else now_s() - self._read_at_s

    @property
    def failures(self) -> int:
        """Refreshes of `run` that failed since the process began."""
        return self._failures

    @property
    def keeper(self) -> SnapshotKeeper | None:
        """What keeps it on disk, where anything does."""
        return self._keeper

    @property
    def revision(self) -> int:
        """Grows with each change since the process began; what it began with is 0."""
        return self._revision

    @property
    def read_at_s(self) -> float | None:
        """Since when what is here is proven, on the clock of `now_s`; None before the first time."""
        return self._read_at_s

    def contents(self) -> Contents:
        """What is kept on disk: all there is now."""
        return Contents(tuple(self._products.values()), self._key_records, self._position, Moment.ago(self.age_s))

    def authenticate(self, bearer: str) -> Client | None:
        """The client whose valid key this is; takes the same time however much of a wrong secret is right."""
        parsed = parse_key(bearer)
        if parsed is None:
            return None
        key_id, secret = parsed
        key = self._keys.get(key_id)
        expected = _NO_HASH if key is None else key.secret_hash
        matches = hmac.compare_digest(hash_secret(secret), expected)
        return key.client if key is not None and matches else None

    async def refresh_now(self, timeout_s: float = 1.0) -> bool:
        """Waits for a refresh that begins after this call; all who ask meanwhile share it.

        While the database is known not to answer nobody waits: a refresh is asked for, and the answer is no.

        Returns:
            Whether the catalogue is now at least as new as this call.
        """
        self._asked.set()
        if self._unanswered:
            return False
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait({self._waiting}, timeout=timeout_s)
        if not done:
            self._unanswered = True
        return any(future.result() for future in done)

    def refresh_soon(self) -> None:
        """Asks for a refresh and does not wait: something is known to have changed."""
        self._asked.set()

    async def run(self) -> None:
        """Begins with what is on disk and refreshes about every second, sooner where `refresh_now` asks.

        It goes on until it is cancelled. A refresh that fails is logged and counted; the catalogue stays as it was,
        and ages.
        """
        if self._keeper is None:
            await self._keep_fresh()
            return
        await self._load(self._keeper)
        keeping = asyncio.create_task(self._keeper.run(self))
        refreshing = asyncio.create_task(self._keep_fresh())
        try:
            done, _ = await asyncio.wait({keeping, refreshing}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            keeping.cancel()
            refreshing.cancel()
            await asyncio.wait({keeping, refreshing})

    async def refresh(self) -> None:
        """Reads what changed since the last time, and takes it over once it is proven.

        Raises:
            DatabaseUnavailable: the catalogue stays as it was, and goes on ageing.
            CatalogueTooLarge: beyond what is kept in memory.
        """
        began = now_s()
        deadline_s = _REFRESH_DEADLINE_S
        if self.age_s > _STALE_S:
            await self.ask(_REFRESH_DEADLINE_S)  # so that no frozen server holds this for the longer deadline
            deadline_s = _LOAD_DEADLINE_S
        async with self._database.read(deadline_s) as connection, _heard(connection) as heard:
            read = await self._read(connection, heard)
        self._take_over(read)
        self._read_at_s, self._unanswered = began, False

    async def ask(self, deadline_s: float) -> None:
        """Asks the database whether it is there and commits, over the catalogue's connections: orders hold up neither.

        Raises:
            DatabaseUnavailable: it does not answer, or not in time.
        """
        async with self._database.read(deadline_s):
            pass

    async def _keep_fresh(self) -> None:
        while True:
            self._asked.clear()
            waiting, self._waiting = self._waiting, None
            refreshed = False
            began = now_s()
            try:
                refreshed = await self._refresh_or_report()
            finally:
                if waiting is not None:
                    waiting.set_result(refreshed)
            spacing_s = min(max(SPACING_TIMES * (now_s() - began), SPACING_MIN_S), SPACING_S)
            await asyncio.sleep(spacing_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_INTERVAL_S - spacing_s):
                    await self._asked.wait()

    async def _load(self, keeper: SnapshotKeeper) -> None:
        loaded = await keeper.load()
        if loaded is None:
            return
        contents, age_s = loaded
        self._products = {product.sku: product for product in contents.products}
        self._key_records, self._keys = contents.keys, _by_id(contents.keys)
        self._position = contents.position
        self._read_at_s = None if age_s == math.inf else now_s() - age_s

    async def _refresh_or_report(self) -> bool:
        try:
            await self.refresh()
        except (psycopg.Error, StandfestError, msgspec.MsgspecError) as error:
            self._failures += 1
            self._unanswered = True
            _log.warning("catalogue_not_refreshed", age_s=round(self.age_s, 1), **facts_of(error))
            return False
        return True

    async def _read(self, connection: Connection, heard: Callable[[], None]) -> _Read:
        cursor = await connection.execute(statement("catalogue/snapshot_position"))
        ((horizon, server),) = await cursor.fetchall()
        key_rows = await _read_keys(connection)
        heard()
        read = _Read(Position(horizon, server), key_rows, everything=server != self._position.server)
        pages = _all_products(connection) if read.everything else _changed_products(connection, self._position.horizon)
        known = self._products
        read.differs = read.everything and self._position.server == ""  # what was read once, if only nothing
        fresh = 0
        async for products in pages:  # a page at a time: others have the event loop in between
            heard()
            different = {product.sku: product for product in products if known.get(product.sku) != product}
            read.differs = read.differs or bool(different)
            if read.everything:
                read.products |= {product.sku: product for product in products}
                _require_bound(len(read.products))
            else:
                fresh += sum(sku not in known and sku not in read.products for sku in different)
                read.products |= different
                _require_bound(len(known) + fresh)
        read.differs = read.differs or (read.everything and len(read.products) != len(known))
        return read

    def _take_over(self, read: _Read) -> None:
        """Makes what was read what is known."""
        if read.differs and read.everything:
            self._products = read.products
        elif read.differs:
            self._products.update(read.products)
        self._revision += read.differs
        self._take_over_keys(read.key_rows)
        self._position = read.position

    def _take_over_keys(self, rows: list[Any]) -> None:
        if rows == self._key_rows:
            return
        records = tuple(
            KeyRecord(key_id, secret_hash, client_id, name, tuple(scopes))
            for key_id, secret_hash, client_id, name, scopes in rows
        )
        if records != self._key_records:
            self._key_records, self._keys = records, _by_id(records)
            self._revision += 1
        self._key_rows = rows


async def _changed_products(connection: Connection, horizon: str) -> AsyncIterator[list[Product]]:
    """What was written at or above the horizon, page by page in the order of (transaction, id)."""
    position = {"transaction_id": horizon, "id": 0, "limit": PAGE}
    while True:
        cursor = await connection.execute(statement("catalogue/changed_products"), position)
        rows = await cursor.fetchall()
        yield [Product(*row[:-1]) for row in rows]
        if len(rows) < PAGE:
            return
        position |= {"transaction_id": rows[-1][-1], "id": rows[-1][0]}


async def _all_products(connection: Connection) -> AsyncIterator[list[Product]]:
    """Every product, page by page."""
    after_id: int | None = 0
    while after_id is not None:
        part = await page(connection, after_id, PAGE)
        yield part.products
        after_id = part.next_id


async def _read_keys(connection: Connection) -> list[Any]:
    cursor = await connection.execute(statement("catalogue/valid_keys"), {"limit": KEYS_MAX + 1})
    rows = await cursor.fetchall()
    if len(rows) > KEYS_MAX:
        raise CatalogueTooLarge(f"more than {KEYS_MAX} valid keys: revoke those that are not used")
    return rows


@contextlib.asynccontextmanager
async def _heard(connection: Connection) -> AsyncIterator[Callable[[], None]]:
    """Abandons the connection where nothing is heard from it for a while; call what it gives after each answer."""
    clock = asyncio.get_running_loop()
    alarm = clock.call_later(_REFRESH_DEADLINE_S, connection.abandon)

    def heard() -> None:
        nonlocal alarm
        alarm.cancel()
        alarm = clock.call_later(_REFRESH_DEADLINE_S, connection.abandon)

    try:
        yield heard
    finally:
        alarm.cancel()


def _by_id(records: Sequence[KeyRecord]) -> dict[str, _Key]:
    clients: dict[UUID, Client] = {}
    keys = {}
    for record in records:
        client = Client(record.client_id, record.client_name, frozenset(record.scopes))
        keys[record.id] = _Key(record.secret_hash, clients.setdefault(record.client_id, client))
    return keys


def _require_bound(products: int) -> None:
    if products > PRODUCTS_MAX:
        raise CatalogueTooLarge(f"more than {PRODUCTS_MAX} products: a process keeps no more in memory")
