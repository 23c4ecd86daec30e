"""Finding orders, in pages."""

import msgspec

from standfest.interfaces.api.answers import STATUSES, OrderAnswer, answer, order_answer
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.operations import (
    ApiRequest,
    Content,
    Operation,
    Parameter,
    client_of,
    has_scope,
    parts_of,
    services_of,
)
from standfest.interfaces.api.orders import READ_SCOPES
from standfest.interfaces.api.parameters import (
    CURSOR,
    LINK_HEADER,
    limit,
    limit_parameter,
    next_page,
    query,
    refused_cursor,
)
from standfest.interfaces.api.problems import invalid_parameter
from standfest.interfaces.api.routes import route
from standfest.interfaces.api.texts import PRINTABLE
from standfest.sales.cursors import parse_cursor
from standfest.sales.find import PAGE_MAX, OrderFilter, list_orders

_TEXT = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": PRINTABLE}


class OrdersAnswer(msgspec.Struct, frozen=True):
    """A page of orders, the newest first."""

    orders: tuple[OrderAnswer, ...]
    next: str | None
    """Cursor of the next page; null on the last one."""


@route(
    "GET",
    "/v1/orders",
    Operation(
        id="listOrders",
        summary="Find orders, the newest first",
        scopes=READ_SCOPES,
        parameters=(
            Parameter("status", "query", "In this state", {"type": "string", "enum": list(STATUSES)}),
            Parameter("customer", "query", "Of the customer with this reference", _TEXT),
            Parameter("external_reference", "query", "With this external reference", _TEXT),
            Parameter("number", "query", "With this order number, as people write it", _TEXT),
            limit_parameter(PAGE_MAX),
            CURSOR,
        ),
        answers={200: Content("A page", OrdersAnswer, headers=(LINK_HEADER,))},
        problems=("cursor-expired", "invalid-content", "unavailable"),
    ),
)
async def find_orders(request: ApiRequest) -> Answer:
    """`GET /v1/orders`."""
    services, client = services_of(request.scope), client_of(request.scope)
    values = query(request.scope)
    for name, value in values.items():
        if name in ("customer", "external_reference", "number") and not 1 <= len(value) <= 100:
            raise invalid_parameter(name, "expected 1 to 100 characters")
    status = values.get("status")
    if status is not None and status not in STATUSES:
        raise invalid_parameter("status", f"expected one of {', '.join(STATUSES)}")
    wanted = OrderFilter(
        client_id=None if has_scope(client, "orders:read-all") else client.id,
        status=status,
        customer=values.get("customer"),
        external_reference=values.get("external_reference"),
        number=values.get("number"),
    )
    count = limit(values, PAGE_MAX)
    cursors = parts_of(request.scope).cursors
    with refused_cursor("cursor"):
        cursor = parse_cursor("orders", values["cursor"]) if "cursor" in values else None
        async with services.database.read(services.limits.read_deadline_s) as connection:
            page = await list_orders(connection, cursors, wanted, count, cursor)
    orders = tuple(order_answer(order) for order in page.orders)
    return answer(OrdersAnswer(orders, page.next), headers=next_page("/v1/orders", values, page.next))
