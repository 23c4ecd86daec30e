"""What the process says of itself: alive, ready, healthy, measured."""

import asyncio
import math
import time
from typing import Literal

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from standfest.interfaces.api.answers import answer
from standfest.interfaces.api.metrics import ApiMetrics
from standfest.interfaces.api.operations import PUBLIC, ApiRequest, Content, Operation, route, services_of
from standfest.interfaces.api.readiness import Readiness
from standfest.interfaces.api.services import Services
from standfest.storage.errors import DatabaseUnavailable

PROBE_DEADLINE_S = 1.0
"""The database has so long to answer; one probe at a time, and its result holds as long."""
CATALOGUE_AGE_MAX_S = 10.0

_PLAIN = "text/plain; charset=utf-8"


class Dependency(msgspec.Struct, frozen=True, omit_defaults=True):
    """A thing that the order plane needs."""

    name: str
    state: Literal["ok", "stale", "unavailable", "unknown"]
    age_s: float | None = None
    """Seconds since it was last known to be well."""
    detail: str | None = None


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
            async with self._services.database.read(PROBE_DEADLINE_S) as connection:
                await connection.execute("SELECT 1")
        except DatabaseUnavailable as error:
            return Dependency("database", "unavailable", detail=str(error))
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
    dependencies = (await state.database_probe.state(), _catalogue(services.catalogue.age_s))
    well = all(dependency.state == "ok" for dependency in dependencies)
    ready = state.readiness.reason is None
    return answer(HealthAnswer("ok" if well else "degraded", services.node, ready, dependencies))


def _catalogue(age_s: float) -> Dependency:
    if age_s == math.inf:
        return Dependency("catalogue", "unavailable", detail="it has not been read yet")
    state: Literal["ok", "stale"] = "ok" if age_s <= CATALOGUE_AGE_MAX_S else "stale"
    return Dependency("catalogue", state, age_s=round(age_s, 3))


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
