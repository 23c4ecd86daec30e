"""Movements: so much more or less of a product is on hand, each once for ever, however often the same request comes.

Unlike a count, which says what is there whatever came before, a movement is right in any order with others.
"""

import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from standfest.domain.canonical import json_hash
from standfest.domain.faults import Fault, Invalid
from standfest.domain.quantity import from_steps, to_steps
from standfest.errors import StandfestError
from standfest.storage.statements import statement

Reason = Literal["received", "returned", "issued", "damaged", "lost", "found", "transferred", "correction", "other"]

_DIGITS = 9
"""A count has at most so many before the point."""


class MovementKeyReused(StandfestError):
    """The idempotency key was used before with another movement."""


class ProductNotFound(StandfestError):
    """There is no such product."""


class StockOutOfRange(StandfestError):
    """The movement would leave less than nothing on hand, or more than can be counted: it is refused, for ever."""

    def __init__(self, on_hand: str) -> None:
        super().__init__(
            f"{on_hand} are on hand, and the movement would leave less than 0 or more than can be counted; it was not"
            " applied, and a new try needs a new Idempotency-Key"
        )
        self.on_hand = on_hand


class Movement(msgspec.Struct, frozen=True):
    """One request to move stock: who asks, under which key, and for what."""

    client_id: UUID
    """Who asks; (client, key) is used once for ever."""
    idempotency_key: str
    sku: str
    body: object
    """The JSON value as received, before defaults: the request hash is over it."""
    quantity: str
    """Decimal string in the product's unit, with its sign."""
    reason: Reason
    note: str | None
    at: datetime.datetime
    """UTC."""

    @property
    def request_hash(self) -> bytes:
        """SHA-256 over all that makes two requests the same, 32 bytes."""
        return json_hash({"command": "move-stock", "sku": self.sku, "body": self.body})


class Moved(msgspec.Struct, frozen=True):
    """What came of a movement."""

    on_hand: int
    """After it, in steps of 10^-unit_decimals; where it is refused, what was there."""
    unit_decimals: int
    version: int
    """Of the stock after it."""
    at: datetime.datetime
    """UTC."""
    applied: bool
    """False: it was refused."""

    def require_applied(self) -> None:
        """Makes sure that it was not refused.

        Raises:
            StockOutOfRange: it was, now or when it came first.
        """
        if not self.applied:
            raise StockOutOfRange(from_steps(self.on_hand, self.unit_decimals))


async def move(connection: AsyncConnection[Any], movement: Movement) -> Moved:
    """Moves stock in the caller's transaction; it counts, a refusal as well, once that is committed.

    Raises:
        ProductNotFound: there is no such product.
        Invalid: nothing would be moved, or the quantity has more decimals than the unit.
        MovementKeyReused: the key was used for another movement.
    """
    cursor = await connection.execute(statement("catalogue/find_units"), {"sku": [movement.sku]})
    row = await cursor.fetchone()
    if row is None:
        raise ProductNotFound(f"there is no product {movement.sku}")
    _, product_id, decimals = row
    quantity = to_steps(movement.quantity, decimals, "/quantity")
    if quantity == 0:
        raise Invalid((Fault("/quantity", "zero-quantity", "a movement of nothing is none"),))
    values = {
        "client_id": movement.client_id,
        "idempotency_key": movement.idempotency_key,
        "request_hash": movement.request_hash,
        "product_id": product_id,
        "sku": movement.sku,
        "quantity": quantity,
        "on_hand_max": 10 ** (_DIGITS + decimals) - 1,
        "reason": movement.reason,
        "note": movement.note,
        "actor": f"client:{movement.client_id}",
        "at": movement.at,
    }
    cursor = await connection.execute(statement("catalogue/move_stock"), values)
    moved = await cursor.fetchone()
    if moved is not None:
        applied, on_hand, version = moved
        return Moved(on_hand, decimals, version, movement.at, applied)
    cursor = await connection.execute(statement("catalogue/find_movement"), values)
    stored = await cursor.fetchone()
    if stored is None or stored[0] != movement.request_hash:
        raise MovementKeyReused("this Idempotency-Key belongs to another movement; use a new key for a new one")
    _, applied, on_hand, version, at = stored
    return Moved(on_hand, decimals, version, at.astimezone(datetime.UTC), applied)
