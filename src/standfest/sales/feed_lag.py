"""How far the feed of changes is behind.

The feed serves what lies below the oldest running transaction that has an id, whoever's it is and in whichever database
of the server: one that stands still holds it for everybody. PostgreSQL ends those that are idle
(`idle_in_transaction_session_timeout`, for every role); those that work go on, and show here.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator

import psycopg
import structlog
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from standfest.errors import StandfestError
from standfest.storage.database import Database
from standfest.storage.statements import statement
from standfest.telemetry.failures import facts_of

INTERVAL_S = 5.0
_DEADLINE_S = 3.0
_SEEN_MAX = 1_000  # beyond it the lag is told a little too high

_log = structlog.get_logger(__name__)


class Served:
    """Since when the feed serves all that was committed, found out by looks at the transaction ids in use."""

    def __init__(self, now_s: float) -> None:
        """`now_s`: seconds on a monotonic clock, as everywhere here."""
        self.up_to_s = now_s
        """All changes that were committed before it are served."""
        self._seen: deque[tuple[float, int]] = deque()

    def saw(self, began_s: float, oldest_running: int, next_id: int) -> None:
        """Takes in a look that began at `began_s`.

        Whatever was committed before a look has an id below the `next_id` that the look saw, and is served once no
        transaction below it is running.
        """
        if self._seen and next_id < self._seen[-1][1]:
            self._seen.clear()  # another primary counts from lower on
        self._seen.append((began_s, next_id))
        while self._seen and self._seen[0][1] <= oldest_running:
            self.up_to_s, _ = self._seen.popleft()
        if len(self._seen) > _SEEN_MAX:
            del self._seen[0]


class FeedLag(Collector):
    """Measures it in one process, and shows it. While the database does not answer, or not with proof, it grows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._served = Served(time.monotonic())

    @property
    def lag_s(self) -> float:
        """Seconds: what was committed longer ago is served, as far as is known here."""
        return time.monotonic() - self._served.up_to_s

    def collect(self) -> Iterator[Metric]:
        """The figure as it is now."""
        yield GaugeMetricFamily(
            "standfest_feed_lag_seconds",
            "What was committed longer ago than this is in the feed of changes; a transaction that runs holds it back",
            self.lag_s,
        )

    async def look(self) -> None:
        """Looks once.

        Raises:
            DatabaseUnavailable: nothing is known; the lag grows.
        """
        began_s = time.monotonic()
        async with self._database.read(_DEADLINE_S) as connection:
            cursor = await connection.execute(statement("sales/feed_horizon"))
            ((oldest_running, next_id),) = await cursor.fetchall()
        self._served.saw(began_s, int(oldest_running), int(next_id))

    async def run(self) -> None:
        """Looks every INTERVAL_S until it is cancelled."""
        while True:
            try:
                await self.look()
            except (StandfestError, psycopg.Error) as error:
                _log.info("feed_lag_not_read", lag_s=round(self.lag_s, 1), **facts_of(error))
            await asyncio.sleep(INTERVAL_S)
