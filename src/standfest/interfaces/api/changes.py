"""The feed of changes: read on from a cursor, nothing is ever skipped."""

import datetime

import msgspec

from standfest.interfaces.api.answers import answer
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.operations import (
    ApiRequest,
    Content,
    Operation,
    client_of,
    has_scope,
    parts_of,
    services_of,
)
from standfest.interfaces.api.parameters import (
    cursor_parameter,
    limit,
    limit_parameter,
    query,
    refused_cursor,
)
from standfest.interfaces.api.routes import route
from standfest.sales.changes import PAGE_MAX, read_changes
from standfest.sales.cursors import parse_cursor


class ChangeAnswer(msgspec.Struct, frozen=True):
    """Something changed; what it is now has to be read."""

    cursor: str
    """Continue behind this change."""
    type: str
    """order.confirmed, product.changed, stock.changed, ..."""
    subject: str
    """The order's id or the product's SKU."""
    version: int
    """The subject's version after it."""
    at: datetime.datetime


class ChangesAnswer(msgspec.Struct, frozen=True):
    """Changes in the one order in which everybody reads them."""

    changes: tuple[ChangeAnswer, ...]
    next: str
    """Continue here, also where there was nothing new."""


@route(
    "GET",
    "/v1/changes",
    Operation(
        id="readChanges",
        summary="Read what changed behind a cursor: own orders (all with orders:read-all), products, stock",
        scopes=frozenset({"changes:read"}),
        parameters=(
            cursor_parameter(
                "after",
                "Where to go on, as `next` or a change's `cursor` said. Without it the feed begins with the first"
                " change: so does who starts, and who starts again after 410, having read what it follows as it is now",
            ),
            limit_parameter(PAGE_MAX),
        ),
        answers={200: Content("The changes", ChangesAnswer)},
        problems=("cursor-expired", "invalid-content", "unavailable"),
        tag="changes",
    ),
)
async def list_changes(request: ApiRequest) -> Answer:
    """`GET /v1/changes`."""
    services, client = services_of(request.scope), client_of(request.scope)
    values = query(request.scope)
    count = limit(values, PAGE_MAX)
    client_id = None if has_scope(client, "orders:read-all") else client.id
    cursors = parts_of(request.scope).cursors
    with refused_cursor("after"):
        after = parse_cursor("changes", values["after"]) if "after" in values else None
        async with services.database.read(services.limits.read_deadline_s) as connection:
            page = await read_changes(connection, cursors, after, count, client_id)
    changes = tuple(
        ChangeAnswer(change.cursor, change.type, change.subject, change.version, change.at) for change in page.changes
    )
    return answer(ChangesAnswer(changes, page.next))
