"""The catalogue in memory: products, and the keys that let clients in, refreshed about every second.

A refresh reads the products that a transaction at or above the last *horizon* wrote: the oldest transaction
that was running when the catalogue was last read. A change that commits late has a transaction id at or above
it, so it is never skipped.
"""

import asyncio
import contextlib
import hmac
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection

from standfest.catalogue.keys import Client, hash_secret, parse_key
from standfest.catalogue.products import page
from standfest.domain.products import Product
from standfest.errors import StandfestError
from standfest.storage.database import Database
from standfest.storage.statements import statement
from standfest.telemetry.failures import facts_of

REFRESH_INTERVAL_S = 1.0
SPACING_S = 0.2
"""Refreshes that are asked for are at least so far apart."""
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


class Catalogue:
    """What intake needs to know of products and clients. `run` keeps it fresh."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._products: dict[str, Product] = {}
        self._keys: dict[str, _Key] = {}
        self._key_rows: list[Any] = []
        self._horizon = "0"
        self._server = ""
        self._fresh_at: float | None = None
        self._asked = asyncio.Event()
        self._failures = 0
        self._waiting: asyncio.Future[bool] | None = None

    @property
    def products(self) -> Mapping[str, Product]:
        """SKU -> product, inactive ones too."""
        return self._products

    @property
    def age_s(self) -> float:
        """Seconds since the database was last asked and answered; infinite before the first time."""
        return float("inf") if self._fresh_at is None else time.monotonic() - self._fresh_at

    @property
    def failures(self) -> int:
        """Refreshes of `run` that failed since the process began."""
        return self._failures

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

        Returns:
            Whether the catalogue is now at least as new as this call.
        """
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
            self._asked.set()
        done, _ = await asyncio.wait({self._waiting}, timeout=timeout_s)
        return any(future.result() for future in done)

    async def run(self) -> None:
        """Refreshes about every second, sooner where `refresh_now` asks, until it is cancelled.

        A refresh that fails is logged and counted; the catalogue stays as it was, and ages.
        """
        while True:
            self._asked.clear()
            waiting, self._waiting = self._waiting, None
            refreshed = False
            try:
                refreshed = await self._refresh_or_report()
            finally:
                if waiting is not None:
                    waiting.set_result(refreshed)
            await asyncio.sleep(SPACING_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_INTERVAL_S - SPACING_S):
                    await self._asked.wait()

    async def refresh(self) -> None:
        """Reads what changed since the last time.

        Raises:
            DatabaseUnavailable: the catalogue stays as it was.
            CatalogueTooLarge: beyond what is kept in memory.
        """
        began = time.monotonic()
        deadline_s = _REFRESH_DEADLINE_S if self.age_s < _STALE_S else _LOAD_DEADLINE_S
        async with self._database.read(deadline_s) as connection:
            cursor = await connection.execute(statement("catalogue/snapshot_position"))
            ((horizon, server),) = await cursor.fetchall()
            await self._read_keys(connection)
            if server == self._server:
                await self._read_changed(connection)
            else:
                self._products = await _read_all(connection)
        self._horizon, self._server, self._fresh_at = horizon, server, began

    async def _refresh_or_report(self) -> bool:
        try:
            await self.refresh()
        except (psycopg.Error, StandfestError, msgspec.MsgspecError) as error:
            self._failures += 1
            _log.warning("catalogue_not_refreshed", age_s=round(self.age_s, 1), **facts_of(error))
            return False
        return True

    async def _read_changed(self, connection: AsyncConnection[Any]) -> None:
        """Takes over what was written at or above the horizon, page by page in the order of (transaction, id)."""
        position = {"transaction_id": self._horizon, "id": 0, "limit": PAGE}
        while True:
            cursor = await connection.execute(statement("catalogue/changed_products"), position)
            rows = await cursor.fetchall()
            for row in rows:
                product = Product(*row[:-1])
                self._products[product.sku] = product
            _require_bound(self._products)
            if len(rows) < PAGE:
                return
            position |= {"transaction_id": rows[-1][-1], "id": rows[-1][0]}

    async def _read_keys(self, connection: AsyncConnection[Any]) -> None:
        cursor = await connection.execute(statement("catalogue/valid_keys"), {"limit": KEYS_MAX + 1})
        rows = await cursor.fetchall()
        if len(rows) > KEYS_MAX:
            raise CatalogueTooLarge(f"more than {KEYS_MAX} valid keys: revoke those that are not used")
        if rows != self._key_rows:
            clients: dict[UUID, Client] = {}
            keys = {}
            for key_id, secret_hash, client_id, name, scopes in rows:
                client = clients.setdefault(client_id, Client(client_id, name, frozenset(scopes)))
                keys[key_id] = _Key(secret_hash, client)
            self._keys, self._key_rows = keys, rows


async def _read_all(connection: AsyncConnection[Any]) -> dict[str, Product]:
    """Every product, page by page in one snapshot."""
    products: dict[str, Product] = {}
    after_id: int | None = 0
    while after_id is not None:
        part = await page(connection, after_id, PAGE)
        products.update((product.sku, product) for product in part.products)
        _require_bound(products)
        after_id = part.next_id
    return products


def _require_bound(products: Mapping[str, Product]) -> None:
    if len(products) > PRODUCTS_MAX:
        raise CatalogueTooLarge(f"more than {PRODUCTS_MAX} products: a process keeps no more in memory")
