"""What was answered when an order came first, for requests that come again."""

from uuid import UUID

from standfest.intake.direct import Placement, read_placements
from standfest.interfaces.api.services import Services
from standfest.storage.orders import read_orders


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
        placements = await read_placements(connection, [order_id])
    return placements[order_id]
