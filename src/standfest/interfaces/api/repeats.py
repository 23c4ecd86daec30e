"""Whether orders that are not valid now were placed before: looked for together, so that refusing costs little.

What was acknowledged once is never refused definitely, so an order is looked for before it is: a product that it names
may not be sold any more. That takes an answer from the journal through its log and a commit of the database. Orders
that come while a look is under way share the next one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

import psycopg

from standfest.clients.etcd_kv import EtcdError
from standfest.domain.orders import Order
from standfest.errors import StandfestError
from standfest.intake.direct import Placement, read_placements
from standfest.intake.entries import EntryBroken, EntryTooNew
from standfest.intake.errors import Overloaded
from standfest.interfaces.api.certainty import require_database
from standfest.interfaces.api.services import Services
from standfest.storage.errors import DatabaseUnavailable

LOOK_MAX = 200
"""Orders in one look."""
WAITING_MAX = 600
"""Orders that wait for a look; more are turned away."""
SPACING_S = 0.02
"""Between two looks; an order that comes alone is looked for at once."""


class Repeats:
    """The looks of one process, one after the other."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._waiting: dict[UUID, asyncio.Future[Placement | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def find(self, order_id: UUID) -> Placement | None:
        """The placement of an order that is there already, None where it is not: both hold.

        Raises:
            Overloaded: as many wait as may.
            DatabaseUnavailable: it cannot be found out now.
            OutcomeUnknown: whether it is there, and on a standby, is not known.
            Exception: whatever else the look failed with, e.g. because of what is stored of this order.
        """
        answer = self._waiting.get(order_id)
        if answer is None:
            if len(self._waiting) >= WAITING_MAX:
                raise Overloaded("as many orders that are not valid are looked for as may be; try again shortly")
            answer = self._waiting[order_id] = asyncio.get_running_loop().create_future()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
        return await asyncio.shield(answer)

    async def _look_on(self) -> None:
        """Looks for those that wait until nobody does; where it is cancelled, whoever waits is cancelled as well."""
        try:
            while self._waiting:
                order_ids = list(self._waiting)[:LOOK_MAX]
                await self._answer({order_id: self._waiting.pop(order_id) for order_id in order_ids})
                await asyncio.sleep(SPACING_S)
        finally:
            self._looking = None
            while self._waiting:
                self._waiting.popitem()[1].cancel()

    async def _answer(self, answers: Mapping[UUID, asyncio.Future[Placement | None]]) -> None:
        """Tells each who waits what was found, or why nothing could be."""
        try:
            found = await self._look(list(answers))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            for answer in answers.values():
                _fail(answer, error)
        except BaseException:
            for answer in answers.values():
                answer.cancel()
            raise
        else:
            for order_id, answer in answers.items():
                if isinstance(placement := found.get(order_id), Exception):
                    _fail(answer, placement)
                else:
                    answer.set_result(placement)

    async def _look(self, order_ids: Sequence[UUID]) -> dict[UUID, Placement | Exception]:
        """The journal first, from where orders move to the database and never back."""
        found: dict[UUID, Placement | Exception] = {}
        for order_id, accepted in (await self._accepted(order_ids)).items():
            if isinstance(accepted, StandfestError):
                found[order_id] = accepted
            else:
                found[order_id] = Placement(accepted, True, "accepted", accepted.content_hash)
        left = [order_id for order_id in order_ids if order_id not in found]
        if left:
            found |= await self._stored(left)
        return found

    async def _accepted(self, order_ids: Sequence[UUID]) -> dict[UUID, Order | StandfestError]:
        """What the journal holds, and for which of them that cannot be known: an entry spoils no other."""
        try:
            return dict(await self._services.intake.find(order_ids, self._services.limits.read_deadline_s))
        except (EntryBroken, EntryTooNew) as error:
            if len(order_ids) == 1:
                return {order_ids[0]: _not_known(error)}
            first, second = _halves(order_ids)
            return await self._accepted(first) | await self._accepted(second)
        except EtcdError as error:
            raise _not_known(error) from error

    async def _stored(self, order_ids: Sequence[UUID]) -> dict[UUID, Placement | Exception]:
        """What the database holds, and which of them cannot be read: an order's rows spoil no other."""
        require_database(self._services)
        try:
            async with self._services.database.write(self._services.limits.write_deadline_s) as connection:
                return dict(await read_placements(connection, order_ids))
        except (StandfestError, psycopg.Error):  # it is the database, whichever orders are asked for
            raise
        except Exception as error:  # noqa: BLE001 - rows that cannot be read may fail with anything
            if len(order_ids) == 1:
                return {order_ids[0]: error}
            first, second = _halves(order_ids)
            return await self._stored(first) | await self._stored(second)


def _not_known(error: Exception) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"what the journal holds cannot be found out now: {error}")


def _halves(order_ids: Sequence[UUID]) -> tuple[Sequence[UUID], Sequence[UUID]]:
    middle = len(order_ids) // 2
    return order_ids[:middle], order_ids[middle:]


def _fail(answer: asyncio.Future[Placement | None], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # seen, also where nobody waits for it any more
