"""Stock: read it, set what was counted, for one product or many."""

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from standfest.catalogue.products import PUT_MANY_MAX
from standfest.catalogue.stock import Count, StockLevel, find, put_many
from standfest.domain.quantity import from_steps
from standfest.domain.request import DecimalString
from standfest.interfaces.api.answers import Quantity, answer, not_modified
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.body import read_body
from standfest.interfaces.api.certainty import certainly
from standfest.interfaces.api.conditions import (
    etag,
    if_match,
    require_match,
    require_single_step,
    unchanged,
)
from standfest.interfaces.api.operations import ApiRequest, Content, Operation, change_deadline, services_of
from standfest.interfaces.api.orders import ETAG_HEADER, READ_CACHE
from standfest.interfaces.api.parameters import IF_MATCH, IF_NONE_MATCH, SKU, path_sku
from standfest.interfaces.api.problems import not_found
from standfest.interfaces.api.products import PutAnswer
from standfest.interfaces.api.routes import route
from standfest.interfaces.api.texts import SkuText

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
        level = await certainly(services, lambda connection: find(connection, sku))
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
        summary="Set what was counted of a product; If-Match may name the version it was counted at",
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


def _stock_answer(level: StockLevel) -> StockAnswer:
    return StockAnswer(
        sku=level.sku,
        on_hand=from_steps(level.on_hand, level.unit_decimals),
        reserved=from_steps(level.reserved, level.unit_decimals),
        available=from_steps(level.available, level.unit_decimals),
        version=level.version,
    )
