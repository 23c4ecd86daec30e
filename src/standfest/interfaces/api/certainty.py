"""What is not there: found out so that it holds.

An order can wait in the journal, from where it moves to the database and never back: so the journal is asked first,
and what it does not hold is looked for in the database then. What the database says is proven (`Database.read`).
"""

from uuid import UUID

from standfest.clients.etcd_kv import EtcdError
from standfest.domain.orders import Order
from standfest.intake.entries import EntryBroken, EntryTooNew
from standfest.interfaces.api.services import Services
from standfest.storage.errors import DatabaseUnavailable


async def waiting(services: Services, order_id: UUID) -> Order | None:
    """The order as it waits in the journal, in state `accepted`; None: it does not, for certain.

    Raises:
        DatabaseUnavailable: that cannot be found out now.
    """
    try:
        found = await services.intake.find([order_id], services.limits.read_deadline_s)
    except (EtcdError, EntryBroken, EntryTooNew) as error:
        raise DatabaseUnavailable(f"what the journal holds cannot be found out now: {error}") from error
    return found.get(order_id)


def require_database(services: Services) -> None:
    """Refuses at once what needs a commit while it is known that none comes about.

    Raises:
        DatabaseUnavailable: new orders go to the journal; nothing was tried.
    """
    if services.intake.database_away:
        raise DatabaseUnavailable("the database is away; new orders are accepted by the journal")
