"""What the process says of itself: alive, ready, healthy, measured."""

import asyncio
import math
import time
from typing import Literal

import msgspec
import structlog
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from standfest.interfaces.api.answers import answer
from standfest.interfaces.api.dependencies import Dependency
from standfest.interfaces.api.metrics import ApiMetrics
from standfest.interfaces.api.operations import PUBLIC, ApiRequest, Content, Operation, services_of
from standfest.interfaces.api.readiness import Readiness
from standfest.interfaces.api.routes import route
from standfest.interfaces.api.services import Services
from standfest.storage.errors import DatabaseUnavailable
from standfest.telemetry.failures import facts_of

PROBE_DEADLINE_S = 1.0
"""The database has so long to answer; one probe at a time, and its result holds as long."""
CATALOGUE_STALE_S = 10.0
"""An older catalogue is called stale, and one beyond the limit of age, with which nothing is done, unavailable."""

_PLAIN = "text/plain; charset=utf-8"
_log = structlog.get_logger(__name__)


class HealthAnswer(msgspec.Struct, frozen=True):
    """How this process and what it needs are."""

    status: Literal["ok", "degraded"]
    node: str
    ready: bool
    dependencies: tuple[Dependency, ...]


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


@route(
    "GET",
    "/livez",
    Operation(
        id="live",
        summary="The process turns over",
        scopes=PUBLIC,
        answers={200: Content("It does", str, _PLAIN)},
        tag="process",
    ),
)
async def live(request: ApiRequest) -> ASGIApp:
    """`GET /livez`."""
    return ASGIResponse(body=b"alive\n", media_type=_PLAIN)


@route(
    "GET",
    "/readyz",
    Operation(
        id="ready",
        summary="The process wants traffic",
        scopes=PUBLIC,
        answers={200: Content("It does", str, _PLAIN), 503: Content("It does not", str, _PLAIN)},
        tag="process",
    ),
)
async def ready(request: ApiRequest) -> ASGIApp:
    """`GET /readyz`: what the process depends on plays no part in it."""
    readiness: Readiness = request.scope["litestar_app"].state.readiness
    reason = readiness.reason
    if reason is None:
        return ASGIResponse(body=b"ready\n", media_type=_PLAIN)
    return ASGIResponse(body=f"{reason}\n", status_code=503, media_type=_PLAIN)


@route(
    "GET",
    "/v1/health",
    Operation(
        id="health",
        summary="How the process and what it depends on are",
        scopes=PUBLIC,
        answers={200: Content("Each dependency with its state", HealthAnswer)},
        tag="process",
    ),
)
async def health(request: ApiRequest) -> ASGIApp:
    """`GET /v1/health`."""
    services, state = services_of(request.scope), request.scope["litestar_app"].state
    journal = () if services.journal_state is None else (services.journal_state(),)
    dependencies = (await state.database_probe.state(), *journal, _catalogue(services))
    well = all(dependency.state == "ok" for dependency in dependencies)
    ready = state.readiness.reason is None
    return answer(HealthAnswer("ok" if well else "degraded", services.node, ready, dependencies))


def _catalogue(services: Services) -> Dependency:
    age_s, age_max_s = services.catalogue.age_s, services.limits.catalogue_age_max_s
    if age_s == math.inf:
        return Dependency("catalogue", "unavailable", age_max_s=age_max_s, detail="it has not been read yet")
    if age_s > age_max_s:
        return Dependency("catalogue", "unavailable", round(age_s, 3), age_max_s, "it is too old to be used")
    state: Literal["ok", "stale"] = "ok" if age_s <= CATALOGUE_STALE_S else "stale"
    return Dependency("catalogue", state, round(age_s, 3), age_max_s)


@route(
    "GET",
    "/metrics",
    Operation(
        id="metrics",
        summary="Measurements in Prometheus' text format",
        scopes=PUBLIC,
        answers={200: Content("All of them", str, _PLAIN)},
        tag="process",
    ),
)
async def metrics(request: ApiRequest) -> ASGIApp:
    """`GET /metrics`."""
    measured: ApiMetrics = request.scope["litestar_app"].state.metrics
    return ASGIResponse(body=generate_latest(measured.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
