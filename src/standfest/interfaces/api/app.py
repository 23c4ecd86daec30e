"""The API put together."""

from collections.abc import Iterator

import msgspec
from litestar import Litestar
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from standfest.interfaces.api import (
    cancellations,
    changes,
    health,
    openapi,
    order_lists,
    orders,
    products,
    receipt_key,
    stock,
)
from standfest.interfaces.api.catalogue_figures import CatalogueFigures
from standfest.interfaces.api.edge import Edge
from standfest.interfaces.api.errors import HANDLERS
from standfest.interfaces.api.health import DatabaseProbe
from standfest.interfaces.api.metrics import ApiMetrics
from standfest.interfaces.api.readiness import Readiness
from standfest.interfaces.api.services import Services

ROUTES: tuple[HTTPRouteHandler, ...] = (
    orders.place_order,
    orders.read_order,
    orders.read_order_events,
    orders.read_order_receipt,
    receipt_key.read_receipt_key,
    order_lists.find_orders,
    cancellations.cancel_order,
    products.list_products,
    products.put_products,
    products.read_product,
    products.put_product,
    stock.put_stocks,
    stock.read_stock,
    stock.put_stock,
    changes.list_changes,
    openapi.openapi,
    health.live,
    health.ready,
    health.health,
    health.metrics,
)


def _options() -> Iterator[HTTPRouteHandler]:
    """What each path allows. (The framework's own answer names only the methods that it was given first.)"""
    methods: dict[str, set[str]] = {}
    for handler in ROUTES:
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(handler.http_methods)
    for path, allowed in methods.items():
        yield _options_of(path, ", ".join(sorted(allowed)))


def _options_of(path: str, allowed: str) -> HTTPRouteHandler:
    async def options() -> ASGIApp:
        return ASGIResponse(status_code=204, headers={"Allow": allowed})

    return HTTPRouteHandler(path, http_method="OPTIONS", status_code=200, include_in_schema=False)(options)


def create_app(services: Services) -> Edge:
    """The API as an ASGI app; `serve` runs it."""
    catalogue, age_max_s = services.catalogue, services.limits.catalogue_age_max_s
    readiness = Readiness(services.limits.loop_lag_max_s, lambda: catalogue.age_s > age_max_s)
    metrics = ApiMetrics(readiness, (CatalogueFigures(catalogue, age_max_s), *services.collectors))
    state = {
        "services": services,
        "readiness": readiness,
        "metrics": metrics,
        "openapi": msgspec.json.encode(openapi.document(ROUTES)),
        "database_probe": DatabaseProbe(services),
    }
    app = Litestar(
        route_handlers=[*_options(), *ROUTES],
        exception_handlers=HANDLERS,
        state=State(state, deep_copy=False),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # bodies are read and bounded by this API's own module
    )
    return Edge(app, readiness, metrics, services.limits.in_flight_max)
