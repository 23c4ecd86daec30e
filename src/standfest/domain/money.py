"""Money: Decimal amounts in major units of a currency, rounded as EN 16931 rounds."""

from decimal import ROUND_HALF_UP, Decimal

MINOR_DIGITS = {"EUR": 2}
"""Currencies that an order can be in -> decimals of an amount (ISO 4217)."""

_CENT = Decimal("0.01")


def round_amount(amount: Decimal) -> Decimal:
    """Rounds half up to two decimals (EN 16931, BR-DEC rules: amounts have at most two)."""
    return amount.quantize(_CENT, ROUND_HALF_UP)
