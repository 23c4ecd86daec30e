"""What an app is made of."""

from dataclasses import dataclass

from standfest.interfaces.api.database_probe import DatabaseProbe
from standfest.interfaces.api.freshness import Freshness
from standfest.interfaces.api.metrics import ApiMetrics
from standfest.interfaces.api.readiness import Readiness
from standfest.interfaces.api.repeats import Repeats
from standfest.interfaces.api.services import Services
from standfest.sales.cursors import Cursors


@dataclass(frozen=True)
class Parts:
    """All that its handlers use."""

    services: Services
    readiness: Readiness
    metrics: ApiMetrics
    database_probe: DatabaseProbe
    cursors: Cursors
    freshness: Freshness
    repeats: Repeats
    openapi: bytes
    """The document."""
