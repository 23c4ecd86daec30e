"""What was answered when an order came first, for requests that come again."""

from uuid import UUID

from standfest.domain.orders import Order
from standfest.intake.decisions import shortages_of
from standfest.intake.direct import Placement
from standfest.intake.receipts import Receipt, receipt_of
from standfest.interfaces.api.services import Services
from standfest.storage.orders import read_events, read_orders


async def stored_placement(services: Services, order_id: UUID) -> Placement | None:
    """The placement of an order that is stored already; None where it is not.

    Raises:
        DatabaseUnavailable: it cannot be found out now.
        OutcomeUnknown: it is there, and it is not known whether a standby has it.
    """
    async with services.database.read(services.limits.read_deadline_s) as connection:
        found = await read_orders(connection, [order_id])
    if not found:
        return None
    # What is only read may not be replicated yet: the answer waits for a commit of its own.
    async with services.database.write(services.limits.write_deadline_s) as connection:
        order = (await read_orders(connection, [order_id]))[order_id]
        first = (await read_events(connection, [order_id]))[order_id][0]
    return Placement(order, True, shortages_of(first) if order.status == "declined" else ())


async def placement_receipt(services: Services, order: Order) -> Receipt:
    """The receipt of an order as it was given when the order was placed.

    Raises:
        DatabaseUnavailable: the order has changed since, and how it began cannot be read now.
    """
    if order.version == 1:
        return receipt_of(order, order.content_hash, order.status)
    async with services.database.read(services.limits.read_deadline_s) as connection:
        first = (await read_events(connection, [order.order_id]))[order.order_id][0]
    return receipt_of(order, first.content_hash, first.type.removeprefix("order."))
