"""Cancelling orders, whole or by lines, once however often the same request comes."""

import datetime
from uuid import UUID

import msgspec

from standfest.domain.cancellation import CancelRequest
from standfest.domain.cancellation import cancel as decide
from standfest.domain.canonical import json_hash
from standfest.domain.orders import Order
from standfest.sales.errors import CommandKeyReused, OrderNotFound
from standfest.sales.store import Changed, write_changes
from standfest.storage.connection import Connection
from standfest.storage.orders import read_orders
from standfest.storage.statements import statement


class CancelCommand(msgspec.Struct, frozen=True):
    """One request to cancel: who asks, under which key, and for what."""

    client_id: UUID
    """Who asks; (client, key) is used once for ever."""
    idempotency_key: str
    order_id: UUID
    body: object
    """The JSON value as received, before defaults: the request hash is over it."""
    request: CancelRequest
    any_order: bool
    """The client may cancel orders that are not its own."""
    at: datetime.datetime
    """UTC."""

    @property
    def request_hash(self) -> bytes:
        """SHA-256 over all that makes two requests the same, 32 bytes."""
        return json_hash({"command": "cancel", "order_id": str(self.order_id), "body": self.body})


class Cancelled(msgspec.Struct, frozen=True):
    """The answer to a cancellation."""

    order: Order
    """As it stands now."""
    repeated: bool
    """The request was carried out before."""


async def cancel(connection: Connection, command: CancelCommand) -> Cancelled:
    """Cancels in the caller's transaction; it counts once that is committed. A refusal must roll it back.

    Raises:
        OrderNotFound: no such order for this client.
        CommandKeyReused: the key was used for another command.
        Conflict: the order's state does not allow it.
        Invalid: the lines asked for do not fit the order.
    """
    owner = None if command.any_order else command.client_id
    values = {"order_id": command.order_id, "client_id": owner}
    cursor = await connection.execute(statement("sales/lock_order"), values)
    row = await cursor.fetchone()
    if row is None:
        raise OrderNotFound(f"there is no order {command.order_id} that this client may cancel")
    claimed = await _claim(connection, command, order_ref=row[0])
    order = (await read_orders(connection, [command.order_id]))[command.order_id]
    if not claimed:
        return Cancelled(order, repeated=True)
    decision = decide(order, command.request)
    changed = Changed(
        before=order,
        after=decision.order,
        event_type=decision.event_type,
        actor=f"client:{command.client_id}",
        at=command.at,
        reason=command.request.reason,
        data=decision.data,
    )
    await write_changes(connection, [changed])
    return Cancelled(decision.order, repeated=False)


async def _claim(connection: Connection, command: CancelCommand, order_ref: int) -> bool:
    """Whether the command is new; False where the same one was carried out before."""
    values = {
        "client_id": command.client_id,
        "idempotency_key": command.idempotency_key,
        "request_hash": command.request_hash,
        "order_ref": order_ref,
    }
    cursor = await connection.execute(statement("sales/claim_command"), values)
    if await cursor.fetchone() is not None:
        return True
    cursor = await connection.execute(statement("sales/find_command"), values)
    stored = await cursor.fetchone()
    if stored is None or stored[0] != command.request_hash:
        raise CommandKeyReused("this Idempotency-Key belongs to another command; use a new key for a new command")
    return False
