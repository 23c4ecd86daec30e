"""Placing and reading orders."""

import datetime
from collections.abc import Awaitable
from typing import TypeVar
from uuid import UUID

import structlog

from standfest.domain.agreement import Submission, agree
from standfest.domain.canonical import plain_hash
from standfest.domain.events import OrderEvent
from standfest.domain.faults import Invalid
from standfest.domain.identity import order_id, order_number
from standfest.domain.orders import Order
from standfest.domain.request import OrderRequest
from standfest.intake.decisions import remembered
from standfest.intake.direct import Placement
from standfest.intake.entries import ENTRY_BYTES_MAX, fits
from standfest.intake.errors import (
    IntakeOutcomeUnknown,
    IntakeUnavailable,
    JournalFull,
    KeyReused,
    Overloaded,
)
from standfest.intake.receipts import Receipt, SignedReceipt, receipt_of
from standfest.interfaces.api.answers import (
    EventsAnswer,
    OrderAnswer,
    answer,
    event_answers,
    not_modified,
    order_answer,
    shortage_answers,
)
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.body import read_body
from standfest.interfaces.api.certainty import waiting
from standfest.interfaces.api.conditions import etag, unchanged
from standfest.interfaces.api.idempotency import idempotency_key
from standfest.interfaces.api.operations import (
    ApiRequest,
    Content,
    Operation,
    client_of,
    has_scope,
    order_deadline,
    parts_of,
    services_of,
)
from standfest.interfaces.api.parameters import IDEMPOTENCY_KEY, IF_NONE_MATCH, ORDER_ID, path_order_id
from standfest.interfaces.api.problems import Problem, not_found
from standfest.interfaces.api.routes import route
from standfest.interfaces.api.services import Services
from standfest.sales.find import find_order
from standfest.storage.deadline import Deadline
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.storage.orders import read_events

_NOT_PLACED = (IntakeUnavailable, JournalFull, KeyReused, Overloaded)
"""Failures that say for certain that this request stored nothing."""
Result = TypeVar("Result")
_Events = tuple[OrderEvent, ...]

READ_SCOPES = frozenset({"orders:read", "orders:read-all"})
ETAG_HEADER = ("ETag", "The version, as a strong entity tag")
LOCATION_HEADER = ("Location", "Where the order can be read")
READ_CACHE = {"Cache-Control": "private, no-cache"}


@route(
    "POST",
    "/v1/orders",
    Operation(
        id="placeOrder",
        summary="Place an order; the same request with the same key is one order, however often it comes",
        scopes=frozenset({"orders:write"}),
        parameters=(IDEMPOTENCY_KEY,),
        body=OrderRequest,
        example={
            "customer": {"name": "Ada Lovelace", "reference": "C-1042"},
            "ship_to": {
                "name": "Ada Lovelace",
                "street": "Unter den Linden 1",
                "postal_code": "10117",
                "city": "Berlin",
                "country": "DE",
            },
            "currency": "EUR",
            "lines": [{"sku": "apple", "quantity": "3"}],
        },
        answers={
            201: Content(
                "Stored on two nodes, the first time and repeated; stock is reserved or backordered",
                OrderAnswer,
                headers=(LOCATION_HEADER, ETAG_HEADER),
            ),
            202: Content(
                "Accepted: durable on two nodes, while the database is away, or behind others that were accepted and"
                " wait. What is in stock is decided when its turn comes; read the order, or repeat the request, to see"
                " what became of it",
                OrderAnswer,
                headers=(LOCATION_HEADER, ETAG_HEADER),
            ),
        },
        problems=(
            "out-of-stock",
            "invalid-content",
            "idempotency-key-reused",
            "overloaded",
            "unavailable",
            "outcome-unknown",
        ),
    ),
)
async def place_order(request: ApiRequest) -> Answer:
    """`POST /v1/orders`."""
    services, client = services_of(request.scope), client_of(request.scope)
    services.intake.require_room(client.id)
    key = idempotency_key(request.scope)
    value, body = await read_body(request, OrderRequest)
    submission = Submission(
        client_id=client.id,
        idempotency_key=key,
        body=value,
        request=body,
        may_price=has_scope(client, "orders:price"),
        received_at=datetime.datetime.now(datetime.UTC),
    )
    deadline = order_deadline(request.scope)
    placement: Placement | None
    try:
        order = await _agree(services, submission)
        if not fits(order):
            raise Problem("payload-too-large", f"an order is at most {ENTRY_BYTES_MAX} bytes as it is kept")
    except (Invalid, Problem):
        # A repeat gets the answer that it had, or will have, even where a product is not sold any more by now.
        identifier = order_id(client.id, key, plain_hash(value))
        if (agreed := services.intake.order_under_way(identifier)) is not None:
            placement = await _known(identifier, _place(services, agreed, deadline))
        else:
            placement = await _known(identifier, parts_of(request.scope).repeats.find(identifier))
        if placement is None:
            raise
    else:
        placement = await _known(order.order_id, _place(services, order, deadline))
    metrics = parts_of(request.scope).metrics
    metrics.count_order(client.id, placement.order.status, repeated=placement.repeated)
    receipt = receipt_of(placement.order, placement.agreed_hash, placement.promise)
    services.keep_receipt(receipt)
    return _answer_placement(placement, receipt)


async def _place(services: Services, order: Order, deadline: Deadline) -> Placement:
    """Places an order. One that may be stored although its client gets no receipt is noted for the audit."""
    try:
        return await services.intake.place(order, deadline)
    except _NOT_PLACED:
        raise
    except BaseException:
        services.note_unanswered(order.order_id)
        raise


async def _known(identifier: UUID, placing: Awaitable[Result]) -> Result:
    """What becomes of an order, where that can be known."""
    structlog.contextvars.bind_contextvars(order_id=str(identifier))
    try:
        return await placing
    except (IntakeOutcomeUnknown, OutcomeUnknown) as error:
        raise Problem(
            "outcome-unknown",
            "the order may have been placed: repeat the same request with the same Idempotency-Key",
            order_id=str(identifier),
            number=order_number(identifier),
        ) from error


async def _agree(services: Services, submission: Submission) -> Order:
    """The order as agreed; where that fails, once more with a catalogue that was just refreshed."""
    try:
        return agree(submission, services.catalogue.products, services.merchant)
    except Invalid as error:
        if not any(fault.code in ("unknown-sku", "inactive-sku") for fault in error.faults):
            raise
    if not await services.catalogue.refresh_now():
        raise DatabaseUnavailable("whether these are new products cannot be found out now")
    return agree(submission, services.catalogue.products, services.merchant)


def _answer_placement(placement: Placement, receipt: Receipt) -> Answer:
    order = placement.order
    if order.status == "declined":
        raise Problem(
            "out-of-stock",
            "the order is declined and recorded: not all of it is in stock; a new try needs a new Idempotency-Key",
            order_id=str(order.order_id),
            number=order_number(order.order_id),
            receipt=receipt,
            lines=shortage_answers(placement.shortages),
        )
    headers = {"Location": f"/v1/orders/{order.order_id}", "ETag": etag(order.version)}
    status = 202 if order.status in ("accepted", "conflict") else 201
    return answer(order_answer(order, receipt), status=status, headers=headers)


@route(
    "GET",
    "/v1/orders/{order_id:str}",
    Operation(
        id="readOrder",
        summary="Read an order as it stands",
        scopes=READ_SCOPES,
        parameters=(ORDER_ID, IF_NONE_MATCH),
        answers={
            200: Content("The order", OrderAnswer, headers=(ETAG_HEADER,)),
            304: Content("It is still the version that If-None-Match names", media_type=""),
        },
        problems=("not-found", "unavailable"),
    ),
)
async def read_order(request: ApiRequest) -> Answer:
    """`GET /v1/orders/{id}`."""
    order, events = await _visible(request)
    headers = READ_CACHE | {"ETag": etag(order.version)}
    if unchanged(request.scope, order.version):
        return not_modified(headers)
    return answer(order_answer(order, _receipt(order, events)), headers=headers)


@route(
    "GET",
    "/v1/orders/{order_id:str}/events",
    Operation(
        id="readOrderEvents",
        summary="Read all changes of an order, oldest first",
        scopes=READ_SCOPES,
        parameters=(ORDER_ID,),
        answers={200: Content("The events", EventsAnswer)},
        problems=("not-found", "unavailable"),
    ),
)
async def read_order_events(request: ApiRequest) -> Answer:
    """`GET /v1/orders/{id}/events`."""
    _, events = await _visible(request)
    return answer(event_answers(events))


@route(
    "GET",
    "/v1/orders/{order_id:str}/receipt",
    Operation(
        id="readOrderReceipt",
        summary="Read the receipt of an order's placing, signed (Ed25519 over its canonical JSON, RFC 8785)",
        scopes=READ_SCOPES,
        parameters=(ORDER_ID,),
        answers={200: Content("The signed receipt", SignedReceipt)},
        problems=("not-found", "unavailable"),
    ),
)
async def read_order_receipt(request: ApiRequest) -> Answer:
    """`GET /v1/orders/{id}/receipt`."""
    order, events = await _visible(request)
    return answer(services_of(request.scope).signer.sign(_receipt(order, events)))


async def _visible(request: ApiRequest) -> tuple[Order, _Events]:
    """The order that the path names, with its events, where the client may see it.

    Raises:
        Problem: 404.
        DatabaseUnavailable: it cannot be found out now.
    """
    scope = request.scope
    identifier, client = path_order_id(scope), client_of(scope)
    owner = None if has_scope(client, "orders:read-all") else client.id

    async def look() -> tuple[Order, _Events] | None:
        async with services.database.read(services.limits.read_deadline_s) as connection:
            order = await find_order(connection, identifier, owner)
            return None if order is None else (order, (await read_events(connection, [identifier]))[identifier])

    services = services_of(scope)
    found: tuple[Order, _Events] | None = None
    unavailable: DatabaseUnavailable | None = None
    if not services.intake.database_away:
        try:
            found = await look()
        except DatabaseUnavailable as error:
            unavailable = error  # the journal may have the order
    if found is None:
        accepted = await waiting(services, identifier)
        if accepted is not None and owner in (None, accepted.client_id):
            found = accepted, ()
    if found is None:
        if unavailable is not None:
            raise unavailable
        found = await look()
    if found is None:
        raise not_found(f"there is no order {identifier}")
    return found


def _receipt(order: Order, events: _Events) -> Receipt:
    if not events:
        return receipt_of(order, order.content_hash, "accepted")
    first = events[0]
    return receipt_of(order, first.content_hash, remembered(order, first)[0])
