"""Products: create and change many at once, find one, page through all."""

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import AsyncConnection

from standfest.catalogue.changes import append_changes
from standfest.domain.faults import Fault, Invalid
from standfest.domain.products import Product, StockPolicy, TaxClass
from standfest.storage.statements import statement

PUT_MANY_MAX = 1_000
"""The most products or stock counts that one call takes."""
PAGE_MAX = 1_000


class NewProduct(msgspec.Struct, frozen=True):
    """A product as it shall be; the shape was checked where it came in."""

    sku: str
    name_de: str
    name_en: str
    unit: str
    unit_decimals: int
    net_price: Decimal
    """Major currency units for one whole unit, at most four decimals."""
    tax_class: TaxClass
    active: bool
    stock_policy: StockPolicy
    pointer: str = ""
    """JSON Pointer to this product in the request: faults point below it."""


class PutResult(msgspec.Struct, frozen=True):
    """How many entries changed something, and how many were as they should be already."""

    changed: int
    unchanged: int


class ProductPage(msgspec.Struct, frozen=True):
    """Products in the order in which they were created, and where to go on."""

    products: list[Product]
    next_id: int | None
    """Give it as `after_id` for the next page; None on the last one."""


async def put_many(
    connection: AsyncConnection[Any], products: Sequence[NewProduct], at: datetime.datetime
) -> PutResult:
    """Creates what is not there and changes what differs; what is the same stays as it is, version and all.

    Runs in the caller's transaction; no two of them wait for each other: new SKUs come first, in ascending
    order, then existing products in ascending id.

    Raises:
        Invalid: a SKU twice, or another number of decimals than the product's unit has.
    """
    require_distinct([(product.sku, product.pointer) for product in products])
    values = _columns(products)
    cursor = await connection.execute(statement("catalogue/insert_products"), values)
    created = await cursor.fetchall()
    if created:
        await connection.execute(
            statement("catalogue/insert_stock"), {"product_id": [product_id for product_id, _ in created]}
        )
    cursor = await connection.execute(statement("catalogue/lock_changed_products"), values)
    locked = await cursor.fetchall()
    _require_same_decimals(products, {sku: decimals for _, sku, decimals in locked})
    changed = [(sku, 1) for _, sku in created]
    if locked:
        cursor = await connection.execute(
            statement("catalogue/update_products"), values | {"locked_id": [row[0] for row in locked]}
        )
        changed += await cursor.fetchall()
    await append_changes(connection, "product.changed", changed, at)
    return PutResult(len(changed), len(products) - len(changed))


async def find(connection: AsyncConnection[Any], sku: str) -> Product | None:
    """The product with this SKU, active or not."""
    cursor = await connection.execute(statement("catalogue/find_product"), {"sku": sku})
    row = await cursor.fetchone()
    return None if row is None else Product(*row)


async def page(connection: AsyncConnection[Any], after_id: int, limit: int) -> ProductPage:
    """At most `limit` (1 to 1,000) products created after the one with id `after_id`; 0: from the first."""
    bounded = max(1, min(limit, PAGE_MAX))
    cursor = await connection.execute(
        statement("catalogue/page_products"), {"after_id": after_id, "limit": bounded + 1}
    )
    products = [Product(*row) for row in await cursor.fetchall()]
    more = len(products) > bounded
    return ProductPage(products[:bounded], products[bounded - 1].id if more else None)


def require_distinct(entries: Sequence[tuple[str, str]]) -> None:
    """Refuses (SKU, pointer) entries where a SKU comes twice.

    Raises:
        Invalid: with a fault for each SKU that came before.
    """
    seen: set[str] = set()
    faults = []
    for sku, pointer in entries:
        if sku in seen:
            faults.append(Fault(f"{pointer}/sku", "duplicate-sku", f"{sku} comes twice in this request"))
        seen.add(sku)
    if faults:
        raise Invalid(tuple(faults))


def _require_same_decimals(products: Sequence[NewProduct], decimals: dict[str, int]) -> None:
    faults = tuple(
        Fault(
            f"{product.pointer}/unit_decimals",
            "unit-decimals-fixed",
            f"{product.sku} is counted with {decimals[product.sku]} decimals, and stock and orders "
            "rest on it: make a new SKU for another unit",
        )
        for product in products
        if decimals.get(product.sku, product.unit_decimals) != product.unit_decimals
    )
    if faults:
        raise Invalid(faults)


def _columns(products: Sequence[NewProduct]) -> dict[str, Any]:
    """One list a column, as the statements take them."""
    names = [name for name in NewProduct.__struct_fields__ if name != "pointer"]
    return {name: [getattr(product, name) for product in products] for name in names}
