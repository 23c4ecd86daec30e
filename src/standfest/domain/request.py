"""An order as a client asks for it: the shape of the body, with bounds on everything."""

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from standfest.domain.parties import Address, Customer

MAX_LINES = 2_000

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*$(?!\n)"
_AMOUNT = r"^[0-9]{1,9}(\.[0-9]{1,4})?$(?!\n)"
_SIGNED = r"^[+-][0-9]{1,9}(\.[0-9]{1,4})?$(?!\n)"

ShortText = Annotated[str, Meta(min_length=1, max_length=100, pattern=_PRINTABLE)]
LongText = Annotated[str, Meta(max_length=1_000, pattern=_PRINTABLE)]
Reference = Annotated[str, Meta(min_length=1, max_length=100, pattern=_PRINTABLE)]
Sku = Annotated[str, Meta(min_length=1, max_length=64, pattern=_PRINTABLE)]
Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[!-?A-~]{1,64}@[!-?A-~]{1,189}$(?!\n)")]
DecimalString = Annotated[str, Meta(min_length=1, max_length=14, pattern=_AMOUNT)]
"""A decimal number without sign or exponent: at most nine digits before and four after the point."""
SignedDecimalString = Annotated[str, Meta(min_length=2, max_length=15, pattern=_SIGNED)]
"""The same with a sign, always: `+3` or `-3`."""
CountryCode = Annotated[str, Meta(pattern=r"^[A-Z]{2}$(?!\n)", description="ISO 3166-1 alpha-2")]


class CustomerRequest(Customer, frozen=True, forbid_unknown_fields=True):
    """Who orders; without a reference a guest."""

    name: ShortText
    reference: Reference | None = None
    email: Email | None = None
    vat_id: Annotated[str, Meta(min_length=4, max_length=20, pattern=_PRINTABLE)] | None = None


class AddressRequest(Address, frozen=True, forbid_unknown_fields=True):
    """Where goods or an invoice go."""

    name: ShortText
    street: ShortText
    postal_code: Annotated[str, Meta(min_length=1, max_length=20, pattern=_PRINTABLE)]
    city: ShortText
    country: CountryCode


class LineRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of which product."""

    sku: Sku
    quantity: DecimalString
    unit_price: DecimalString | None = None
    note: LongText | None = None


class OrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/orders`."""

    customer: CustomerRequest
    ship_to: AddressRequest
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)", description="ISO 4217")]
    lines: Annotated[tuple[LineRequest, ...], Meta(min_length=1, max_length=MAX_LINES)]
    bill_to: AddressRequest | None = None
    requested_delivery: datetime.date | None = None
    external_reference: Reference | None = None
    note: LongText | None = None
