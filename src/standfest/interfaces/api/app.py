"""The API put together."""

import re
from collections.abc import Iterator

import msgspec
from starlette import routing

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
from standfest.interfaces.api.asgi import Receive, Scope, Send
from standfest.interfaces.api.catalogue_figures import CatalogueFigures
from standfest.interfaces.api.database_probe import DatabaseProbe
from standfest.interfaces.api.edge import Edge
from standfest.interfaces.api.freshness import Freshness
from standfest.interfaces.api.metrics import ApiMetrics
from standfest.interfaces.api.parts import Parts
from standfest.interfaces.api.problems import Problem, answer_problem
from standfest.interfaces.api.readiness import Readiness
from standfest.interfaces.api.repeats import Repeats
from standfest.interfaces.api.routes import Resource, Route
from standfest.interfaces.api.services import Services
from standfest.sales.cursors import KEY_BYTES, Cursors

ROUTES: tuple[Route, ...] = (
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
    stock.move_stock,
    changes.list_changes,
    openapi.openapi,
    health.live,
    health.ready,
    health.health,
    health.metrics,
    health.receipts_statement,
)


def create_app(services: Services) -> Edge:
    """The API as an ASGI app; `serve` runs it."""
    catalogue, age_max_s = services.catalogue, services.limits.catalogue_age_max_s
    readiness = Readiness(services.limits.loop_lag_max_s, lambda: catalogue.age_s > age_max_s, services.cut_off)
    metrics = ApiMetrics(readiness, (CatalogueFigures(catalogue, age_max_s), *services.collectors))
    document = msgspec.json.encode(openapi.document(ROUTES))
    cursors = Cursors(services.signer.derived_key("cursors", KEY_BYTES))
    freshness = Freshness(services.limits.standstill_max_s)
    parts = Parts(
        services, readiness, metrics, DatabaseProbe(services), cursors, freshness, Repeats(services), document
    )
    router = routing.Router(list(_resources(parts)), redirect_slashes=False, default=_nothing)
    return Edge(router, readiness, metrics, freshness, services.limits.in_flight_max)


def _resources(parts: Parts) -> Iterator[routing.Route]:
    routes_at: dict[str, list[Route]] = {}
    for route in ROUTES:
        routes_at.setdefault(route.path, []).append(route)
    # A SKU's own path takes what goes on behind a SKU as well, so it comes last; orders, asked for most, come first.
    for path, routes in sorted(routes_at.items(), key=lambda item: item[0].endswith(":path}")):
        yield _Exactly(path, Resource(routes, parts))


class _Exactly(routing.Route):
    """A route to just this path. Starlette's own takes a line feed at its end as well, and none within a SKU.

    A path that goes on behind a SKU is told by its raw form from the path of a SKU with a `/`, which is sent as `%2F`.
    """

    def __init__(self, path: str, resource: Resource) -> None:
        super().__init__(path, resource)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)
        self._segments = path.count("/") if ":path}/" in path else None

    def matches(self, scope: Scope) -> tuple[routing.Match, Scope]:
        """Whether it is the route of a request."""
        if self._segments is not None and scope["raw_path"].count(b"/") != self._segments:
            return routing.Match.NONE, {}
        return super().matches(scope)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem("not-found", "there is no such resource")
    await answer_problem(problem, scope["request_id"]).send(send)
