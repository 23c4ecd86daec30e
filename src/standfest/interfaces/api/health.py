"""What the process says of itself: alive, ready, healthy, measured."""

import math
from typing import Literal

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from standfest.intake.receipt_statement import Statement
from standfest.interfaces.api.answers import answer
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.dependencies import Dependency
from standfest.interfaces.api.operations import PUBLIC, ApiRequest, Content, Operation, parts_of
from standfest.interfaces.api.problems import not_found
from standfest.interfaces.api.routes import route
from standfest.interfaces.api.services import Services

CATALOGUE_STALE_S = 10.0
"""An older catalogue is called stale, and one beyond the limit of age, with which nothing is done, unavailable."""

_PLAIN = "text/plain; charset=utf-8"


class HealthAnswer(msgspec.Struct, frozen=True):
    """How this process and what it needs are."""

    status: Literal["ok", "degraded"]
    node: str
    ready: bool
    dependencies: tuple[Dependency, ...]


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
async def live(request: ApiRequest) -> Answer:
    """`GET /livez`."""
    return Answer(b"alive\n", media_type=_PLAIN)


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
async def ready(request: ApiRequest) -> Answer:
    """`GET /readyz`: what the process depends on plays no part in it."""
    reason = parts_of(request.scope).readiness.reason
    if reason is None:
        return Answer(b"ready\n", media_type=_PLAIN)
    return Answer(f"{reason}\n".encode(), status=503, media_type=_PLAIN)


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
async def health(request: ApiRequest) -> Answer:
    """`GET /v1/health`."""
    parts = parts_of(request.scope)
    services = parts.services
    journal = () if services.journal_state is None else (services.journal_state(),)
    dependencies = (await parts.database_probe.state(), *journal, _catalogue(services))
    well = all(dependency.state == "ok" for dependency in dependencies)
    ready = parts.readiness.reason is None
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
async def metrics(request: ApiRequest) -> Answer:
    """`GET /metrics`."""
    return Answer(generate_latest(parts_of(request.scope).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@route(
    "GET",
    "/metrics/receipts",
    Operation(
        id="receiptsStatement",
        summary="What the process says of the receipts that it gave; the audit compares its files with that",
        scopes=PUBLIC,
        answers={200: Content("Its count of receipts, and of those in each file", Statement)},
        problems=("not-found",),
        tag="process",
    ),
)
async def receipts_statement(request: ApiRequest) -> Answer:
    """`GET /metrics/receipts`; the doors hide it."""
    statement = parts_of(request.scope).services.receipts_statement()
    if statement is None:
        raise not_found("this process keeps no receipts")
    return answer(statement)
