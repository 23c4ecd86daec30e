"""What the catalogue tells the readers of the feed of changes."""

import datetime
from collections.abc import Sequence
from typing import Any, Literal

from psycopg import AsyncConnection

from standfest.storage.statements import statement


async def append_changes(
    connection: AsyncConnection[Any],
    type: Literal["product.changed", "stock.changed"],
    changed: Sequence[tuple[str, int]],
    at: datetime.datetime,
) -> None:
    """Appends one change for each (SKU, new version), in the caller's transaction."""
    if changed:
        values = {
            "type": type,
            "sku": [sku for sku, _ in changed],
            "version": [version for _, version in changed],
            "at": at,
        }
        await connection.execute(statement("catalogue/append_changes"), values)
