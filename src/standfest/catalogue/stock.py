"""Stock: what is there of a product, and what of it is promised to orders."""

import datetime
from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import AsyncConnection

from standfest.catalogue.changes import append_changes
from standfest.catalogue.products import PutResult, require_distinct
from standfest.domain.faults import Fault, Invalid
from standfest.domain.quantity import to_steps
from standfest.storage.statements import statement


class Count(msgspec.Struct, frozen=True):
    """So much of a product was counted."""

    sku: str
    on_hand: str
    """Decimal string in the product's unit, without a sign."""
    pointer: str = ""
    """JSON Pointer to this count in the request: faults point below it."""


class StockLevel(msgspec.Struct, frozen=True):
    """The stock of a product, in steps of 10^-unit_decimals."""

    sku: str
    unit_decimals: int
    on_hand: int
    reserved: int
    version: int

    @property
    def available(self) -> int:
        """What can be promised; negative where a count found less than is promised."""
        return self.on_hand - self.reserved


async def put_many(connection: AsyncConnection[Any], counts: Sequence[Count], at: datetime.datetime) -> PutResult:
    """Sets what is on hand. A count that is as before changes nothing, not even the version.

    Runs in the caller's transaction; stock rows are locked in ascending product id.

    Raises:
        Invalid: an unknown SKU, a SKU twice, or more decimals than the unit has.
    """
    require_distinct([(count.sku, count.pointer) for count in counts])
    values = await _in_steps(connection, counts)
    cursor = await connection.execute(statement("catalogue/lock_changed_stock"), values)
    locked = [row[0] for row in await cursor.fetchall()]
    if locked:
        cursor = await connection.execute(statement("catalogue/update_stock"), values | {"locked_id": locked})
        skus = dict(zip(values["product_id"], (count.sku for count in counts), strict=True))
        changed = [(skus[product_id], version) for product_id, version in await cursor.fetchall()]
        await append_changes(connection, "stock.changed", changed, at)
    return PutResult(len(locked), len(counts) - len(locked))


async def find(connection: AsyncConnection[Any], sku: str) -> StockLevel | None:
    """The stock of the product with this SKU."""
    cursor = await connection.execute(statement("catalogue/find_stock"), {"sku": sku})
    row = await cursor.fetchone()
    return None if row is None else StockLevel(*row)


async def _in_steps(connection: AsyncConnection[Any], counts: Sequence[Count]) -> dict[str, list[int]]:
    """Product ids and counts in steps, in the order of `counts`."""
    cursor = await connection.execute(statement("catalogue/find_units"), {"sku": [count.sku for count in counts]})
    units = {sku: (product_id, decimals) for sku, product_id, decimals in await cursor.fetchall()}
    product_ids: list[int] = []
    on_hand: list[int] = []
    faults: list[Fault] = []
    for count in counts:
        if count.sku not in units:
            faults.append(Fault(f"{count.pointer}/sku", "unknown-sku", f"there is no product {count.sku}"))
            continue
        product_id, decimals = units[count.sku]
        try:
            on_hand.append(to_steps(count.on_hand, decimals, f"{count.pointer}/on_hand"))
        except Invalid as invalid:
            faults.extend(invalid.faults)
        product_ids.append(product_id)
    if faults:
        raise Invalid(tuple(faults))
    return {"product_id": product_ids, "on_hand": on_hand}
