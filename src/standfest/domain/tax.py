"""Value added tax: which category and rate a line has, and the tax of an order by rate.

Rounding and grouping follow EN 16931 (BR-CO-17: tax = base x rate, rounded to two decimals,
for each category and rate); category codes are those of UNCL 5305. Distance sales inside the EU
are taxed at the rate of the country of destination (Directive 2006/112/EC, article 33);
goods for a business elsewhere in the EU are an intra-community supply (article 138), goods that
leave the EU an export (article 146).
"""

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

import msgspec

from standfest.domain.money import round_amount
from standfest.domain.products import TaxClass

# Standard rate and the reduced rate for most goods, per cent.
# Source: European Commission, "Taxes in Europe Database", rates in force in 2026.
EU_RATES: dict[str, tuple[str, str]] = {
    "AT": ("20", "10"),
    "BE": ("21", "6"),
    "BG": ("20", "9"),
    "CY": ("19", "5"),
    "CZ": ("21", "12"),
    "DE": ("19", "7"),
    "DK": ("25", "25"),
    "EE": ("24", "9"),
    "ES": ("21", "10"),
    "FI": ("25.5", "13.5"),
    "FR": ("20", "5.5"),
    "GR": ("24", "13"),
    "HR": ("25", "13"),
    "HU": ("27", "5"),
    "IE": ("23", "13.5"),
    "IT": ("22", "10"),
    "LT": ("21", "12"),
    "LU": ("17", "8"),
    "LV": ("21", "12"),
    "MT": ("18", "5"),
    "NL": ("21", "9"),
    "PL": ("23", "8"),
    "PT": ("23", "6"),
    "RO": ("21", "11"),
    "SE": ("25", "12"),
    "SI": ("22", "9.5"),
    "SK": ("23", "19"),
}
_OTHER_RATES: dict[str, tuple[str, str]] = {
    "CH": ("8.1", "2.6"),
    "GB": ("20", "5"),
    "NO": ("25", "15"),
}
_PART_OF = {"MC": "FR", "IM": "GB"}
"""Countries that count as a part of another one for VAT (Directive 2006/112/EC, article 7)."""

_ZERO = Decimal("0.00")
_HUNDRED = Decimal(100)


class TaxRule(msgspec.Struct, frozen=True):
    """How a line is taxed."""

    category: str
    """UNCL 5305: S taxed, Z zero rate, K intra-community supply, G export."""
    rate: Decimal
    """Per cent, two decimals."""


class TaxGroup(msgspec.Struct, frozen=True):
    """The tax of all lines of one category and rate."""

    category: str
    rate: Decimal
    base: Decimal
    amount: Decimal


@lru_cache(maxsize=4096)
def tax_rule(seller: str, destination: str, business: bool, tax_class: TaxClass) -> TaxRule:
    """The rule for goods that a merchant in country `seller` sends to country `destination`.

    Args:
        seller: ISO 3166-1 alpha-2, one of those with known rates.
        destination: ISO 3166-1 alpha-2.
        business: the customer has a VAT id of an EU country other than the seller's.
        tax_class: the product's class; `zero` is taxed at 0 % wherever it goes.
    """
    destination = _PART_OF.get(destination, destination)
    domestic = destination == seller
    if not domestic and not (seller in EU_RATES and destination in EU_RATES):
        return TaxRule("G", _ZERO)
    if not domestic and business:
        return TaxRule("K", _ZERO)
    if tax_class == "zero":
        return TaxRule("Z", _ZERO)
    standard, reduced = (EU_RATES | _OTHER_RATES)[destination]
    return TaxRule("S", Decimal(standard if tax_class == "standard" else reduced).quantize(_ZERO))


def tax_groups(nets: Iterable[tuple[str, Decimal, Decimal]]) -> tuple[TaxGroup, ...]:
    """The tax by category and rate of lines given as (category, rate, net), highest rate first."""
    bases: dict[tuple[str, Decimal], Decimal] = {}
    for category, rate, net in nets:
        bases[category, rate] = bases.get((category, rate), _ZERO) + net
    return tuple(
        TaxGroup(category, rate, base, round_amount(base * rate / _HUNDRED))
        for (category, rate), base in sorted(bases.items(), key=lambda item: (-item[0][1], item[0][0]))
    )
