"""What each row is: an order's line, a cancellation's, or none of them and why."""

import re
from decimal import Decimal

from standfest.emergency.drills.replay.rows import Row

ORDER = re.compile(r"\d+")
CANCELLATION = re.compile(r"C\d+")

CHARGES = frozenset({"POST", "DOT", "C2", "M", "D", "S", "B", "CRUK", "BANK CHARGES", "AMAZONFEE"})
"""Codes of the file that are postage, carriage, manual entries, discounts, samples, debts and fees."""
VOUCHER_PREFIX = "GIFT_"

SKU_LENGTH_MAX = 64
PRICE_DECIMALS_MAX = 4
PRICE_MAX = Decimal(10) ** 9
"""The API's bounds; a row beyond them is refused by itself and does not take its order with it."""


def is_charge(sku: str) -> bool:
    """Whether a code is a charge or a voucher: something that is sold but has no stock."""
    return sku.upper() in CHARGES or sku.upper().startswith(VOUCHER_PREFIX)


def is_cancellation(row: Row) -> bool:
    """Whether the row belongs to an invoice that cancels earlier ones."""
    return CANCELLATION.fullmatch(row.invoice) is not None


def refusal(row: Row) -> str | None:
    """Why this row is neither an order's line nor a cancellation's; None where it is one of them."""
    if not row.sku or len(row.sku) > SKU_LENGTH_MAX:
        return f"the stock code is missing or longer than {SKU_LENGTH_MAX} characters"
    if is_cancellation(row):
        return None if row.quantity < 0 else "a cancellation whose quantity is not negative"
    if row.invoice.startswith("A"):
        return "a bad-debt entry, no order"
    if ORDER.fullmatch(row.invoice) is None:
        return "the invoice number is no order's and no cancellation's"
    if row.quantity < 0:
        return "a stock write-off: negative quantity, no cancellation"
    if row.quantity == 0:
        return "the quantity is zero"
    return _price_refusal(row.unit_price)


def _price_refusal(price: Decimal) -> str | None:
    if price < 0:
        return "the price is negative"
    if price == 0:
        return "the price is zero"
    if price >= PRICE_MAX or price != round(price, PRICE_DECIMALS_MAX):
        return f"the price has more than {PRICE_DECIMALS_MAX} decimals or nine digits"
    return None
