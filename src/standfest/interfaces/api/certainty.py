"""What is not there: found out so that it holds.

A primary that was replaced and does not know it yet (a process that was frozen, a network that is cut) still
answers reads, without what was stored since. It cannot commit any more: no standby answers it.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from standfest.interfaces.api.services import Services
from standfest.storage.connection import Connection
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown

Result = TypeVar("Result")


async def certainly(services: Services, look: Callable[[Connection], Awaitable[Result]]) -> Result:
    """What `look` finds on a node that is the primary still: it can commit. For what a read did not find.

    Raises:
        DatabaseUnavailable: that cannot be found out now.
    """
    try:
        async with services.database.write(services.limits.read_deadline_s) as connection:
            found = await look(connection)
    except OutcomeUnknown as error:
        raise DatabaseUnavailable("what is stored cannot be found out now: no standby answers") from error
    return found
