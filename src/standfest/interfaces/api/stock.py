"""Stock: read it, set what was counted, for one product or many, and move it."""

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from standfest.catalogue.movements import Movement, Reason, move
from standfest.catalogue.products import PUT_MANY_MAX
from standfest.catalogue.stock import Count, StockLevel, find, put_many
from standfest.domain.quantity import from_steps
from standfest.domain.request import DecimalString, LongText, SignedDecimalString
from standfest.interfaces.api.answers import Quantity, answer, not_modified
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.body import read_body
from standfest.interfaces.api.conditions import (
    etag,
    if_match,
    require_match,
    require_single_step,
    unchanged,
)
from standfest.interfaces.api.idempotency import idempotency_key
from standfest.interfaces.api.operations import (
    ApiRequest,
    Content,
    Operation,
    change_deadline,
    client_of,
    services_of,
)
from standfest.interfaces.api.orders import ETAG_HEADER, READ_CACHE
from standfest.interfaces.api.parameters import IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH, SKU, path_sku
from standfest.interfaces.api.problems import not_found
from standfest.interfaces.api.products import PutAnswer
from standfest.interfaces.api.routes import route
from standfest.interfaces.api.texts import SkuText

SignedQuantity = Annotated[str, Meta(pattern=r"^[+-][0-9]+(\.[0-9]{1,4})?$")]

READ = frozenset({"catalogue:read", "catalogue:write", "stock:write"})
WRITE = frozenset({"stock:write"})


class CountBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was counted of one product."""

    on_hand: DecimalString


class SkuCountBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was counted of which product."""

    sku: SkuText
    on_hand: DecimalString


class StockBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many counts."""

    stock: Annotated[tuple[SkuCountBody, ...], Meta(min_length=1, max_length=PUT_MANY_MAX)]


class StockAnswer(msgspec.Struct, frozen=True):
    """The stock of a product."""

    sku: str
    on_hand: Quantity
    reserved: Quantity
    """Promised to orders."""
    available: Quantity
    """on_hand - reserved; negative where a count found less than is promised."""
    version: int


class MovementBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much more or less of a product is there, and why."""

    quantity: SignedDecimalString
    reason: Reason
    note: LongText | None = None


class MovementAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A movement as it was applied."""

    quantity: SignedQuantity
    reason: str
    at: datetime.datetime
    on_hand: Quantity
    """Right after it."""
    version: int
    """The stock's, right after it."""
    note: str | None = None


class MovedAnswer(msgspec.Struct, frozen=True):
    """A movement, and the stock as it is now."""

    movement: MovementAnswer
    stock: StockAnswer


@route(
    "PUT",
    "/v1/stock",
    Operation(
        id="putStock",
        summary="Set what was counted of many products, all or none of them",
        scopes=WRITE,
        body=StockBody,
        answers={200: Content("How many changed", PutAnswer)},
        problems=("invalid-content", "unavailable", "outcome-unknown"),
        tag="catalogue",
    ),
)
async def put_stocks(request: ApiRequest) -> Answer:
    """`PUT /v1/stock`."""
    services = services_of(request.scope)
    _, body = await read_body(request, StockBody)
    counts = [Count(count.sku, count.on_hand, f"/stock/{index}") for index, count in enumerate(body.stock)]
    async with services.database.write(change_deadline(request.scope)) as connection:
        result = await put_many(connection, counts, datetime.datetime.now(datetime.UTC))
    return answer(PutAnswer(result.changed, result.unchanged))


@route(
    "GET",
    "/v1/stock/{sku:path}",
    Operation(
        id="readStock",
        summary="Read the stock of a product",
        scopes=READ,
        parameters=(SKU, IF_NONE_MATCH),
        answers={
            200: Content("The stock", StockAnswer, headers=(ETAG_HEADER,)),
            304: Content("It is still the version that If-None-Match names", media_type=""),
        },
        problems=("not-found", "unavailable"),
        tag="catalogue",
    ),
)
async def read_stock(request: ApiRequest) -> Answer:
    """`GET /v1/stock/{sku}`."""
    services, sku = services_of(request.scope), path_sku(request.scope)
    async with services.database.read(services.limits.read_deadline_s) as connection:
        level = await find(connection, sku)
    if level is None:
        raise not_found(f"there is no product {sku}")
    headers = READ_CACHE | {"ETag": etag(level.version)}
    if unchanged(request.scope, level.version):
        return not_modified(headers)
    return answer(_stock_answer(level), headers=headers)


@route(
    "PUT",
    "/v1/stock/{sku:path}",
    Operation(
        id="putStockOfProduct",
        summary="Set what was counted of a product; If-Match may name the version it was counted at. What comes and"
        " goes is a movement (moveStock)",
        scopes=WRITE,
        parameters=(SKU, IF_MATCH),
        body=CountBody,
        answers={200: Content("The stock as it is now", StockAnswer, headers=(ETAG_HEADER,))},
        problems=("not-found", "precondition-failed", "invalid-content", "unavailable", "outcome-unknown"),
        tag="catalogue",
    ),
)
async def put_stock(request: ApiRequest) -> Answer:
    """`PUT /v1/stock/{sku}`: a count is absolute, so If-Match is the client's choice and never required."""
    scope = request.scope
    services, sku = services_of(scope), path_sku(scope)
    tags = if_match(scope)
    _, body = await read_body(request, CountBody)
    async with services.database.write(change_deadline(request.scope)) as connection:
        before = await find(connection, sku)
        if before is None:
            raise not_found(f"there is no product {sku}")
        require_match(tags, before.version)
        now = datetime.datetime.now(datetime.UTC)
        result = await put_many(connection, [Count(sku, body.on_hand)], now)
        after = await find(connection, sku)
        if after is None:
            raise not_found(f"there is no product {sku}")
        if tags is not None:
            require_single_step(before.version, after.version, changed=bool(result.changed))
    return answer(_stock_answer(after), headers={"ETag": etag(after.version)})


@route(
    "POST",
    "/v1/stock/{sku:path}/movements",
    Operation(
        id="moveStock",
        summary="Add to what is on hand of a product, or take from it; the same request with the same key is one"
        " movement, however often it comes, and so is its refusal",
        scopes=WRITE,
        parameters=(SKU, IDEMPOTENCY_KEY),
        body=MovementBody,
        example={"quantity": "-3", "reason": "damaged", "note": "fell from the shelf"},
        answers={
            200: Content(
                "The movement and the stock as it is now, the first time and repeated",
                MovedAnswer,
                headers=(ETAG_HEADER,),
            ),
        },
        problems=(
            "not-found",
            "stock-out-of-range",
            "invalid-content",
            "idempotency-key-reused",
            "unavailable",
            "outcome-unknown",
        ),
        tag="catalogue",
    ),
)
async def move_stock(request: ApiRequest) -> Answer:
    """`POST /v1/stock/{sku}/movements`."""
    scope = request.scope
    services, sku = services_of(scope), path_sku(scope, b"movements")
    key = idempotency_key(scope)
    value, body = await read_body(request, MovementBody)
    movement = Movement(
        client_id=client_of(scope).id,
        idempotency_key=key,
        sku=sku,
        body=value,
        quantity=body.quantity,
        reason=body.reason,
        note=body.note,
        at=datetime.datetime.now(datetime.UTC),
    )
    async with services.database.write(change_deadline(scope)) as connection:
        moved = await move(connection, movement)
        level = await find(connection, sku)
    moved.require_applied()
    if level is None:
        raise not_found(f"there is no product {sku}")
    on_hand = from_steps(moved.on_hand, moved.unit_decimals)
    applied = MovementAnswer(body.quantity, body.reason, moved.at, on_hand, moved.version, body.note)
    return answer(MovedAnswer(applied, _stock_answer(level)), headers={"ETag": etag(level.version)})


def _stock_answer(level: StockLevel) -> StockAnswer:
    return StockAnswer(
        sku=level.sku,
        on_hand=from_steps(level.on_hand, level.unit_decimals),
        reserved=from_steps(level.reserved, level.unit_decimals),
        available=from_steps(level.available, level.unit_decimals),
        version=level.version,
    )
