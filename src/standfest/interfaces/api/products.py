"""Products: read, create, change, put many at once."""

import datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from standfest.catalogue.products import PAGE_MAX, PUT_MANY_MAX, NewProduct, find, page, put_many
from standfest.domain.faults import Fault, Invalid
from standfest.domain.products import Product, StockPolicy, TaxClass
from standfest.domain.request import DecimalString
from standfest.interfaces.api.answers import Name, Price, answer, not_modified, price
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.body import read_body
from standfest.interfaces.api.conditions import (
    etag,
    if_match,
    require_if_match,
    require_match,
    require_single_step,
    unchanged,
)
from standfest.interfaces.api.operations import (
    ApiRequest,
    Content,
    Operation,
    change_deadline,
    parts_of,
    services_of,
)
from standfest.interfaces.api.orders import ETAG_HEADER, READ_CACHE
from standfest.interfaces.api.parameters import (
    CURSOR,
    IF_MATCH,
    IF_NONE_MATCH,
    LINK_HEADER,
    SKU,
    limit,
    limit_parameter,
    next_page,
    path_sku,
    query,
    refused_cursor,
)
from standfest.interfaces.api.problems import not_found
from standfest.interfaces.api.routes import route
from standfest.interfaces.api.texts import SkuText, UnitText
from standfest.sales.cursors import parse_cursor
from standfest.storage.generation import read_generation

READ = frozenset({"catalogue:read", "catalogue:write"})
WRITE = frozenset({"catalogue:write"})


class ProductBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product as it shall be; all of it is replaced."""

    sku: SkuText
    name: Name
    unit: UnitText
    unit_decimals: Annotated[int, Meta(ge=0, le=3, description="Decimals of a quantity; fixed once set")]
    net_price: DecimalString
    tax_class: TaxClass
    active: bool
    stock_policy: StockPolicy


class ProductsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many products."""

    products: Annotated[tuple[ProductBody, ...], Meta(min_length=1, max_length=PUT_MANY_MAX)]


class ProductAnswer(msgspec.Struct, frozen=True):
    """A product as it is."""

    sku: str
    name: Name
    unit: str
    unit_decimals: int
    net_price: Price
    tax_class: TaxClass
    active: bool
    stock_policy: StockPolicy
    version: int


class ProductsAnswer(msgspec.Struct, frozen=True):
    """A page of products, the oldest first."""

    products: tuple[ProductAnswer, ...]
    next: str | None
    """Cursor of the next page; null on the last one."""


class PutAnswer(msgspec.Struct, frozen=True):
    """What a put of many did."""

    changed: int
    """Created or changed."""
    unchanged: int
    """As they should be already."""


@route(
    "GET",
    "/v1/products",
    Operation(
        id="listProducts",
        summary="Read all products in pages",
        scopes=READ,
        parameters=(limit_parameter(PAGE_MAX), CURSOR),
        answers={200: Content("A page", ProductsAnswer, headers=(LINK_HEADER,))},
        problems=("cursor-expired", "invalid-content", "unavailable"),
        tag="catalogue",
    ),
)
async def list_products(request: ApiRequest) -> Answer:
    """`GET /v1/products`."""
    services = services_of(request.scope)
    values = query(request.scope)
    count = limit(values, PAGE_MAX)
    cursors = parts_of(request.scope).cursors
    with refused_cursor("cursor"):
        cursor = parse_cursor("products", values["cursor"]) if "cursor" in values else None
        async with services.database.read(services.limits.read_deadline_s) as connection:
            generation = await read_generation(connection)
            found = await page(connection, 0 if cursor is None else cursors.open(generation, cursor)[0], count)
    following = None if found.next_id is None else cursors.seal("products", generation, found.next_id)
    products = tuple(product_answer(product) for product in found.products)
    return answer(ProductsAnswer(products, following), headers=next_page("/v1/products", values, following))


@route(
    "PUT",
    "/v1/products",
    Operation(
        id="putProducts",
        summary="Create or change many products, all or none of them",
        scopes=WRITE,
        body=ProductsBody,
        answers={200: Content("How many changed", PutAnswer)},
        problems=("invalid-content", "unavailable", "outcome-unknown"),
        tag="catalogue",
    ),
)
async def put_products(request: ApiRequest) -> Answer:
    """`PUT /v1/products`."""
    services = services_of(request.scope)
    _, body = await read_body(request, ProductsBody)
    wanted = [_new(product, f"/products/{index}") for index, product in enumerate(body.products)]
    async with services.database.write(change_deadline(request.scope)) as connection:
        result = await put_many(connection, wanted, datetime.datetime.now(datetime.UTC))
    services.catalogue.refresh_soon()
    return answer(PutAnswer(result.changed, result.unchanged))


@route(
    "GET",
    "/v1/products/{sku:path}",
    Operation(
        id="readProduct",
        summary="Read a product",
        scopes=READ,
        parameters=(SKU, IF_NONE_MATCH),
        answers={
            200: Content("The product", ProductAnswer, headers=(ETAG_HEADER,)),
            304: Content("It is still the version that If-None-Match names", media_type=""),
        },
        problems=("not-found", "unavailable"),
        tag="catalogue",
    ),
)
async def read_product(request: ApiRequest) -> Answer:
    """`GET /v1/products/{sku}`."""
    services, sku = services_of(request.scope), path_sku(request.scope)
    async with services.database.read(services.limits.read_deadline_s) as connection:
        product = await find(connection, sku)
    if product is None:
        raise not_found(f"there is no product {sku}")
    headers = READ_CACHE | {"ETag": etag(product.version)}
    if unchanged(request.scope, product.version):
        return not_modified(headers)
    return answer(product_answer(product), headers=headers)


@route(
    "PUT",
    "/v1/products/{sku:path}",
    Operation(
        id="putProduct",
        summary="Create a product, or change it: then If-Match must name its version",
        scopes=WRITE,
        parameters=(SKU, IF_MATCH),
        body=ProductBody,
        answers={
            200: Content("The product as it is now", ProductAnswer, headers=(ETAG_HEADER,)),
            201: Content("The product that was created", ProductAnswer, headers=(ETAG_HEADER,)),
        },
        problems=(
            "not-found",
            "precondition-failed",
            "precondition-required",
            "invalid-content",
            "unavailable",
            "outcome-unknown",
        ),
        tag="catalogue",
    ),
)
async def put_product(request: ApiRequest) -> Answer:
    """`PUT /v1/products/{sku}`."""
    scope = request.scope
    services, sku = services_of(scope), path_sku(scope)
    tags = if_match(scope)
    _, body = await read_body(request, ProductBody)
    if body.sku != sku:
        raise Invalid((Fault("/sku", "other-sku", f"the path names {sku}"),))
    async with services.database.write(change_deadline(request.scope)) as connection:
        before = await find(connection, sku)
        version = before.version if before else None
        if before is not None:
            require_if_match(tags)
        require_match(tags, version)
        result = await put_many(connection, [_new(body, "")], datetime.datetime.now(datetime.UTC))
        after = await find(connection, sku)
        if after is None:
            raise not_found(f"there is no product {sku}")
        require_single_step(version, after.version, changed=bool(result.changed))
    services.catalogue.refresh_soon()
    headers = {"ETag": etag(after.version)}
    return answer(product_answer(after), status=200 if before else 201, headers=headers)


def product_answer(product: Product) -> ProductAnswer:
    """A product as clients see it."""
    return ProductAnswer(
        sku=product.sku,
        name=Name(product.name_de, product.name_en),
        unit=product.unit,
        unit_decimals=product.unit_decimals,
        net_price=price(product.net_price),
        tax_class=product.tax_class,
        active=product.active,
        stock_policy=product.stock_policy,
        version=product.version,
    )


def _new(product: ProductBody, pointer: str) -> NewProduct:
    return NewProduct(
        sku=product.sku,
        name_de=product.name.de,
        name_en=product.name.en,
        unit=product.unit,
        unit_decimals=product.unit_decimals,
        net_price=Decimal(product.net_price),
        tax_class=product.tax_class,
        active=product.active,
        stock_policy=product.stock_policy,
        pointer=pointer,
    )
