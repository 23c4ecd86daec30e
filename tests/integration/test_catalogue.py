"""Products, stock and clients against a real PostgreSQL."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
import pytest
import pytest_asyncio

from standfest.catalogue import clients, products, stock
from standfest.catalogue.clients import ClientError
from standfest.catalogue.keys import hash_secret, parse_key
from standfest.catalogue.products import NewProduct, PutResult
from standfest.catalogue.stock import Count
from standfest.domain.faults import Invalid
from standfest.storage.database import Database
from tests.integration.orders import pool_of, query
from tests.support.postgres import TestDatabase

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest_asyncio.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool of the order plane's role."""
    pool = pool_of(database)
    yield pool
    await pool.close()


def new(sku: str, **changes: Any) -> NewProduct:
    """A product called `sku`, weighed in kilograms."""
    product = NewProduct(sku, "Birne", "Pear", "kg", 3, Decimal("2.55"), "reduced", True, "tracked")
    return msgspec.structs.replace(product, **changes)


async def put(pool: Database, *wanted: NewProduct) -> PutResult:
    """Puts products in a transaction of their own."""
    async with pool.write(5) as connection:
        return await products.put_many(connection, wanted, AT)


async def count(pool: Database, *counts: Count) -> PutResult:
    """Puts counts in a transaction of their own."""
    async with pool.write(5) as connection:
        return await stock.put_many(connection, counts, AT)


async def test_products_are_created_with_an_empty_stock(database: TestDatabase, pool: Database) -> None:
    """A new product is there at version 1, with a stock row, and the feed says so."""
    assert await put(pool, new("b"), new("a", unit="piece", unit_decimals=0)) == PutResult(2, 0)
    async with pool.read(5) as connection:
        found = await products.find(connection, "b")
        assert found is not None
        assert (found.name_en, found.net_price, found.unit_decimals, found.version) == ("Pear", Decimal("2.55"), 3, 1)
        level = await stock.find(connection, "b")
        assert level is not None
        assert (level.on_hand, level.reserved, level.available) == (0, 0, 0)
        assert await products.find(connection, "c") is None
        assert await stock.find(connection, "c") is None
    assert query(database, "SELECT type, sku, version FROM change ORDER BY sequence") == [
        ("product.changed", "a", 1),
        ("product.changed", "b", 1),
    ]


async def test_putting_the_same_products_changes_nothing(database: TestDatabase, pool: Database) -> None:
    """A product as it is keeps its version and transaction id, and the feed says nothing."""
    await put(pool, new("a"), new("b"))
    rows = "SELECT sku, version, transaction_id::text, xmin::text FROM product ORDER BY sku"
    before = query(database, rows)
    assert await put(pool, new("b", net_price=Decimal("2.5500")), new("a")) == PutResult(0, 2)
    assert query(database, rows) == before
    assert query(database, "SELECT count(*) FROM change") == [(2,)]


async def test_only_what_differs_gets_a_new_version(database: TestDatabase, pool: Database) -> None:
    """Of products put together, the changed one alone moves on, and the feed names it."""
    await put(pool, new("a"), new("b"))
    assert await put(pool, new("a"), new("b", active=False), new("c")) == PutResult(2, 1)
    assert query(database, "SELECT sku, version, active FROM product ORDER BY sku") == [
        ("a", 1, True),
        ("b", 2, False),
        ("c", 1, True),
    ]
    assert query(database, "SELECT sku, version FROM change ORDER BY sequence OFFSET 2") == [("b", 2), ("c", 1)]


async def test_a_units_decimals_stay(database: TestDatabase, pool: Database) -> None:
    """Other decimals would give stock and orders another meaning: refused at the field, and nothing is stored."""
    await put(pool, new("a"))
    with pytest.raises(Invalid) as refused:
        await put(pool, new("new"), new("a", unit_decimals=0, pointer="/products/1"))
    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [
        ("/products/1/unit_decimals", "unit-decimals-fixed")
    ]
    assert query(database, "SELECT sku FROM product") == [("a",)]


async def test_a_sku_twice_is_refused(pool: Database) -> None:
    """Two wishes for one product in a request contradict each other: the second is pointed at."""
    with pytest.raises(Invalid) as refused:
        await put(pool, new("a", pointer="/products/0"), new("a", pointer="/products/1"))
    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [("/products/1/sku", "duplicate-sku")]


async def test_products_are_paged_in_the_order_of_their_creation(pool: Database) -> None:
    """Pages hold every product once, whatever is put meanwhile, and the last one says that it is."""
    await put(pool, *(new(f"p{number}") for number in range(5)))
    seen = []
    after = 0
    async with pool.read(5) as connection:
        while True:
            page = await products.page(connection, after, 2)
            seen.append([product.sku for product in page.products])
            if page.next_id is None:
                break
            after = page.next_id
    assert seen == [["p0", "p1"], ["p2", "p3"], ["p4"]]


async def test_a_count_is_absolute_and_the_same_count_changes_nothing(database: TestDatabase, pool: Database) -> None:
    """What was counted is what is on hand; counted again, no version and no change."""
    await put(pool, new("a"), new("b"))
    assert await count(pool, Count("b", "2.5"), Count("a", "0")) == PutResult(1, 1)
    assert await count(pool, Count("a", "0.000"), Count("b", "2.500")) == PutResult(0, 2)
    async with pool.read(5) as connection:
        level = await stock.find(connection, "b")
    assert level is not None
    assert (level.on_hand, level.version) == (2500, 2)
    assert query(database, "SELECT sku, version FROM change WHERE type = 'stock.changed'") == [("b", 2)]


async def test_a_bad_count_is_pointed_at_and_leaves_nothing(database: TestDatabase, pool: Database) -> None:
    """Unknown SKUs and too many decimals are all named, and the good counts beside them are not stored."""
    await put(pool, new("a"), new("b"))
    with pytest.raises(Invalid) as refused:
        await count(
            pool,
            Count("a", "1", "/stock/0"),
            Count("x", "1", "/stock/1"),
            Count("b", "0.0001", "/stock/2"),
        )
    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [
        ("/stock/1/sku", "unknown-sku"),
        ("/stock/2/on_hand", "too-many-decimals"),
    ]
    assert query(database, "SELECT sum(on_hand)::int FROM stock") == [(0,)]


def test_a_client_has_at_most_two_valid_keys(database: TestDatabase) -> None:
    """A third key is refused with the two ids; after one is revoked there is room again."""
    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
        client_id, first = clients.add_client(connection, "Shop", ["orders:write", "orders:read"])
        second = clients.add_key(connection, "Shop")
        with pytest.raises(ClientError, match=f"{first.id} and {second.id}"):
            clients.add_key(connection, "Shop")
        revoked_at = clients.revoke_key(connection, first.id)
        assert clients.revoke_key(connection, first.id) == revoked_at
        third = clients.add_key(connection, "Shop")
        assert [(key.id, key.revoked_at) for key in clients.list_keys(connection, "Shop")] == [
            (first.id, revoked_at),
            (second.id, None),
            (third.id, None),
        ]
        [summary] = clients.list_clients(connection)
        assert (summary.id, summary.name, summary.valid_keys) == (client_id, "Shop", 2)
        assert summary.scopes == ("orders:read", "orders:write")


def test_of_a_key_only_the_hash_of_its_secret_is_kept(database: TestDatabase) -> None:
    """The database holds the key's id and SHA-256 of its secret, and the secret nowhere."""
    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
        _, key = clients.add_client(connection, "Shop", ["admin"])
    parsed = parse_key(key.text)
    assert parsed is not None
    assert query(database, "SELECT id, secret_hash FROM client_key") == [(key.id, hash_secret(parsed[1]))]
    assert parsed[1] not in repr(key)


@pytest.mark.parametrize(
    ("name", "scopes", "message"),
    [
        ("Shop", ["orders:write"], "already"),
        ("", ["orders:write"], "printable"),
        ("a\nb", ["orders:write"], "printable"),
        ("Other", ["orders:eat"], r"unknown scope orders:eat"),
        ("Other", [], "at least one scope"),
    ],
)
def test_an_unusable_client_is_refused(database: TestDatabase, name: str, scopes: list[str], message: str) -> None:
    """A taken or unprintable name and unknown scopes are refused, and leave no client."""
    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
        clients.add_client(connection, "Shop", ["orders:write"])
        with pytest.raises(ClientError, match=message):
            clients.add_client(connection, name, scopes)
        assert len(clients.list_clients(connection)) == 1


def test_unknown_clients_and_keys_are_named(database: TestDatabase) -> None:
    """Commands on what is not there say so, and which command shows what is."""
    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as connection:
        with pytest.raises(ClientError, match="no client 'Nobody'"):
            clients.add_key(connection, "Nobody")
        with pytest.raises(ClientError, match="no client 'Nobody'"):
            clients.list_keys(connection, "Nobody")
        with pytest.raises(ClientError, match="no key 'abc'"):
            clients.revoke_key(connection, "abc")


def test_the_order_planes_role_cannot_make_keys(database: TestDatabase) -> None:
    """Who takes over an API process can read clients and write none."""
    with (
        psycopg.connect(database.dsn("standfest_app"), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        clients.add_client(connection, "Shop", ["admin"])
