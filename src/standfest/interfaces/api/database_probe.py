"""Whether the database answers, asked once however many want to know."""

import asyncio
import time

import structlog

from standfest.interfaces.api.dependencies import Dependency
from standfest.interfaces.api.services import Services
from standfest.storage.errors import DatabaseUnavailable
from standfest.telemetry.failures import facts_of

PROBE_DEADLINE_S = 1.0
"""The database has so long to answer; one probe at a time, and its result holds as long."""

_log = structlog.get_logger(__name__)


class DatabaseProbe:
    """Asks the database, at most once at a time however many want to know."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._probe: asyncio.Task[Dependency] | None = None
        self._asked_at = 0.0

    async def state(self) -> Dependency:
        """The newest state, at most a second old."""
        now = time.monotonic()
        if self._probe is None or (self._probe.done() and now - self._asked_at > PROBE_DEADLINE_S):
            self._asked_at = now
            self._probe = asyncio.create_task(self._ask())
        await asyncio.wait({self._probe}, timeout=PROBE_DEADLINE_S)
        if not self._probe.done():
            return Dependency("database", "unknown", detail=f"no answer within {PROBE_DEADLINE_S:g} s")
        return self._probe.result()

    async def _ask(self) -> Dependency:
        try:
            await self._services.catalogue.ask(PROBE_DEADLINE_S)  # not in the queue for the orders' connections
        except DatabaseUnavailable as error:
            _log.warning("database_probe_failed", **facts_of(error))
            return Dependency("database", "unavailable", detail="it cannot be used now")
        return Dependency("database", "ok")
