"""Each second a synthetic order takes the journal path end to end: the path is never cold, and known to work.

Every API process tries to place the same one: whoever comes first creates it, the others find it. So each of them knows
how its own way to the journal is, and the cluster has one synthetic order a second.
"""

import asyncio
import datetime
import time

import structlog

from standfest.domain.synthetic import synthetic_order
from standfest.errors import StandfestError
from standfest.intake.intake import Intake
from standfest.telemetry.failures import facts_of

INTERVAL_S = 1.0
DEADLINE_S = 3.0

_log = structlog.get_logger(__name__)


class Synthetic:
    """One process's synthetic orders, and by them its view of the journal."""

    def __init__(self, intake: Intake, currency: str) -> None:
        self._intake = intake
        self._currency = currency
        self._well_at: float | None = None
        self.failures = 0
        """Synthetic orders that were not accepted."""
        self.last_s: float | None = None
        """How long the last one took to be accepted."""

    @property
    def well_for_s(self) -> float:
        """Seconds since the journal last accepted one; infinite before the first time."""
        return float("inf") if self._well_at is None else time.monotonic() - self._well_at

    async def run(self) -> None:
        """Places one at the beginning of each second until it is cancelled. No failure ends it."""
        while True:
            await asyncio.sleep(INTERVAL_S - time.time() % INTERVAL_S)
            began = time.monotonic()
            order = synthetic_order(datetime.datetime.now(datetime.UTC), self._currency)
            try:
                await self._intake.accept(order, DEADLINE_S)
            except StandfestError as error:
                self.failures += 1
                _log.warning("synthetic_order_not_accepted", **facts_of(error))
            else:
                self._well_at = time.monotonic()
                self.last_s = self._well_at - began
