"""The newest orders, watched closely: an order whose rows are not what they were is looked at thoroughly.

A fingerprint that the database computes costs a small part of judging an order. It accuses nobody: a lawful change
changes it as well. It acquits, so it counts once its reading is proven.
"""

import time

import psycopg
import structlog

from standfest.domain.synthetic import SYNTHETIC_CLIENT
from standfest.intake.audit.looks import DEADLINE_S, Looks
from standfest.intake.audit.suspects import Suspects
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.storage.statements import statement
from standfest.telemetry.failures import facts_of

WATCHED = 20_000
"""The newest ingest positions."""
BATCH = 500
"""Orders in one statement."""

_COULD_NOT = (DatabaseUnavailable, OutcomeUnknown, psycopg.Error)
_log = structlog.get_logger(__name__)


class Watch:
    """Fingerprints of the newest orders."""

    def __init__(self, database: Database, looks: Looks, suspects: Suspects) -> None:
        self._database = database
        self._looks = looks
        self._suspects = suspects
        self._fingerprints: dict[int, str] = {}
        self._after: int | None = None
        self.took_s = 0.0
        """Seconds that the database worked for the last batch."""

    async def step(self) -> bool | None:
        """Looks at one batch; whether it was the last of a pass, None where it could not look."""
        newest = None if self._after is not None else await self._looks.last_position()
        if self._after is None:
            if newest is None:
                return None
            self._after = max(0, newest - WATCHED)
            for position in [each for each in self._fingerprints if each <= self._after]:
                del self._fingerprints[position]
        values = {"after": self._after, "orders_max": BATCH, "synthetic": SYNTHETIC_CLIENT}
        try:
            async with self._database.read(DEADLINE_S) as connection:
                began = time.monotonic()
                try:
                    rows = await (await connection.execute(statement("audit/fingerprints"), values)).fetchall()
                finally:
                    self.took_s = time.monotonic() - began
        except _COULD_NOT as error:
            _log.debug("audit_watch_put_off", **facts_of(error))
            self._after = None
            return None
        for position, order_id, fingerprint in rows:
            if self._fingerprints.setdefault(position, fingerprint) != fingerprint:
                self._fingerprints[position] = fingerprint
                self._suspects.add(order_id)
        last = len(rows) < BATCH
        self._after = None if last else rows[-1][0]
        return last
