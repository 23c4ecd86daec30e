"""From a request to an agreement: every field checked against the catalogue, priced and taxed."""

import datetime
from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import msgspec
from msgspec.structs import asdict
from stdnum.eu import vat

from standfest.domain.canonical import plain_hash
from standfest.domain.countries import COUNTRIES
from standfest.domain.faults import Fault, Invalid
from standfest.domain.identity import order_id
from standfest.domain.money import MINOR_DIGITS
from standfest.domain.orders import Agreed, Line, Order, content_hash, line_net, totals
from standfest.domain.parties import Address, Customer
from standfest.domain.products import Product
from standfest.domain.quantity import to_steps
from standfest.domain.request import LineRequest, OrderRequest
from standfest.domain.tax import EU_RATES, tax_rule

MAX_ORDER_NET = Decimal(10) ** 11
"""An order is refused above it: beyond any real order, and within what the columns hold."""


class Merchant(msgspec.Struct, frozen=True):
    """Who sells."""

    country: str
    """ISO 3166-1 alpha-2; VAT is computed from here."""
    currency: str
    """ISO 4217; all prices are in it."""


class Submission(msgspec.Struct, frozen=True):
    """One request to place an order: its identity and what is asked for."""

    client_id: UUID
    idempotency_key: str
    body: object
    """The JSON value as received, before defaults: the request hash is over it."""
    request: OrderRequest
    may_price: bool
    """The client's own unit prices count."""
    received_at: datetime.datetime
    """UTC."""


def agree(submission: Submission, products: Mapping[str, Product], merchant: Merchant) -> Order:
    """The order that the merchant and the client agree on, in state `received`, version 1.

    Args:
        submission: a request whose shape is valid.
        products: SKU -> product, the catalogue now.
        merchant: who sells.

    Raises:
        Invalid: with every fault found, each with a pointer to its field.
    """
    request = submission.request
    faults = list(_party_faults(request, merchant))
    business = request.customer.vat_id is not None and not _is_vat_id_of(merchant.country, request.customer.vat_id)
    lines: list[Line] = []
    for position, asked in enumerate(request.lines, start=1):
        try:
            lines.append(_line(position, asked, submission, products, merchant, business))
        except Invalid as invalid:
            faults.extend(invalid.faults)
    if faults:
        raise Invalid(tuple(faults))
    sums = totals(lines)
    if sums.net > MAX_ORDER_NET:
        raise Invalid((Fault("/lines", "total-too-large", f"the order's net total exceeds {MAX_ORDER_NET}"),))
    agreed = Agreed(
        customer=Customer(**asdict(request.customer)),
        ship_to=Address(**asdict(request.ship_to)),
        bill_to=Address(**asdict(request.bill_to)) if request.bill_to else None,
        requested_delivery=request.requested_delivery,
        note=request.note,
    )
    request_hash = plain_hash(submission.body)
    return Order(
        order_id=order_id(submission.client_id, submission.idempotency_key, request_hash),
        client_id=submission.client_id,
        idempotency_key=submission.idempotency_key,
        request_hash=request_hash,
        content_hash=content_hash(request.currency, agreed, lines, sums),
        status="received",
        version=1,
        path="direct",
        accepted_at=submission.received_at,
        external_reference=request.external_reference,
        currency=request.currency,
        agreed=agreed,
        lines=tuple(lines),
        totals=sums,
    )


def _party_faults(request: OrderRequest, merchant: Merchant) -> list[Fault]:
    faults = []
    if request.currency not in MINOR_DIGITS or request.currency != merchant.currency:
        detail = f"prices are in {merchant.currency}, not in {request.currency}"
        faults.append(Fault("/currency", "unsupported-currency", detail))
    for field, address in (("ship_to", request.ship_to), ("bill_to", request.bill_to)):
        if address is not None and address.country not in COUNTRIES:
            detail = f"{address.country} is no ISO 3166-1 alpha-2 country code"
            faults.append(Fault(f"/{field}/country", "unknown-country", detail))
    if request.customer.vat_id is not None and not _is_vat_id(request.customer.vat_id):
        detail = f"{request.customer.vat_id} is no valid VAT id of an EU country"
        faults.append(Fault("/customer/vat_id", "invalid-vat-id", detail))
    return faults


def _is_vat_id(vat_id: str) -> bool:
    """Whether it is a business's VAT id; the numbers of one-stop shops (EU..., IM...) are none."""
    return _country_of(vat_id) in EU_RATES and vat.is_valid(vat_id)


def _is_vat_id_of(country: str, vat_id: str) -> bool:
    return _country_of(vat_id) == country


def _country_of(vat_id: str) -> str:
    prefix = vat_id.strip()[:2].upper()
    return "GR" if prefix == "EL" else prefix


def _line(
    position: int,
    asked: LineRequest,
    submission: Submission,
    products: Mapping[str, Product],
    merchant: Merchant,
    business: bool,
) -> Line:
    pointer = f"/lines/{position - 1}"
    product = products.get(asked.sku)
    if product is None:
        raise Invalid((Fault(f"{pointer}/sku", "unknown-sku", f"there is no product {asked.sku}"),))
    if not product.active:
        raise Invalid((Fault(f"{pointer}/sku", "inactive-sku", f"{asked.sku} is not sold any more"),))
    quantity = to_steps(asked.quantity, product.unit_decimals, f"{pointer}/quantity")
    if quantity == 0:
        raise Invalid((Fault(f"{pointer}/quantity", "zero-quantity", "the quantity must be more than 0"),))
    unit_price = product.net_price
    if submission.may_price and asked.unit_price is not None:
        unit_price = Decimal(asked.unit_price)
    rule = tax_rule(merchant.country, submission.request.ship_to.country, business, product.tax_class)
    return Line(
        position=position,
        product_id=product.id,
        sku=product.sku,
        name_de=product.name_de,
        name_en=product.name_en,
        unit=product.unit,
        unit_decimals=product.unit_decimals,
        quantity=quantity,
        unit_price=unit_price,
        net=line_net(quantity, product.unit_decimals, unit_price),
        tax_class=product.tax_class,
        tax_category=rule.category,
        tax_rate=rule.rate,
        stock_policy=product.stock_policy,
        note=asked.note,
    )
