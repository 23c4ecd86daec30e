"""Who takes part in an order, as it is kept: what a later release writes, this one reads."""

import msgspec


class Customer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who orders; without a reference a guest."""

    name: str
    reference: str | None = None
    email: str | None = None
    vat_id: str | None = None


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where goods or an invoice go."""

    name: str
    street: str
    postal_code: str
    city: str
    country: str
    """ISO 3166-1 alpha-2."""
