"""Cancelling orders, whole or by lines."""

import datetime

import structlog

from standfest.domain.cancellation import CancelRequest
from standfest.interfaces.api.answers import OrderAnswer, answer, order_answer
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.body import read_body
from standfest.interfaces.api.certainty import require_database, waiting
from standfest.interfaces.api.conditions import Tags, etag, if_match, require_match
from standfest.interfaces.api.idempotency import idempotency_key
from standfest.interfaces.api.operations import (
    ADMIN,
    ApiRequest,
    Content,
    Operation,
    change_deadline,
    client_of,
    has_scope,
    services_of,
)
from standfest.interfaces.api.orders import ETAG_HEADER
from standfest.interfaces.api.parameters import IDEMPOTENCY_KEY, IF_MATCH, ORDER_ID, path_order_id
from standfest.interfaces.api.routes import route
from standfest.interfaces.api.services import Services
from standfest.sales.cancel import CancelCommand, Cancelled, cancel
from standfest.sales.errors import OrderNotFound
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable


@route(
    "POST",
    "/v1/orders/{order_id:str}/cancel",
    Operation(
        id="cancelOrder",
        summary="Cancel lines of an order or all of it; what was reserved is given back",
        scopes=frozenset({"orders:write"}),
        parameters=(ORDER_ID, IDEMPOTENCY_KEY, IF_MATCH),
        body=CancelRequest,
        answers={200: Content("The order as it stands now", OrderAnswer, headers=(ETAG_HEADER,))},
        problems=(
            "not-found",
            "conflict",
            "precondition-failed",
            "invalid-content",
            "idempotency-key-reused",
            "unavailable",
            "outcome-unknown",
        ),
    ),
)
async def cancel_order(request: ApiRequest) -> Answer:
    """`POST /v1/orders/{id}/cancel`."""
    scope = request.scope
    services, client = services_of(scope), client_of(scope)
    identifier = path_order_id(scope)
    structlog.contextvars.bind_contextvars(order_id=str(identifier))
    key = idempotency_key(scope)
    tags = if_match(scope)
    value, body = await read_body(request, CancelRequest)
    command = CancelCommand(
        client_id=client.id,
        idempotency_key=key,
        order_id=identifier,
        body=value,
        request=body,
        any_order=has_scope(client, ADMIN),
        at=datetime.datetime.now(datetime.UTC),
    )
    order = (await _cancel_or_wait(services, command, tags, change_deadline(scope))).order
    return answer(order_answer(order), headers={"ETag": etag(order.version)})


async def _cancel_or_wait(
    services: Services, command: CancelCommand, tags: Tags | None, deadline: Deadline
) -> Cancelled:
    """Cancels; an order that waits in the journal cannot be cancelled before it is in the database."""
    require_database(services)
    try:
        return await _cancel(services, command, tags, deadline)
    except OrderNotFound:
        accepted = await waiting(services, command.order_id)
        if accepted is not None and (command.any_order or accepted.client_id == command.client_id):
            raise DatabaseUnavailable("the order is accepted and not confirmed yet") from None
    return await _cancel(services, command, tags, deadline)  # by now it is either there, or nowhere


async def _cancel(services: Services, command: CancelCommand, tags: Tags | None, deadline: Deadline) -> Cancelled:
    async with services.database.write(deadline) as connection:
        cancelled = await cancel(connection, command)
        if not cancelled.repeated:  # what was cancelled by this very request is not another version
            require_match(tags, cancelled.order.version - 1)
    return cancelled
