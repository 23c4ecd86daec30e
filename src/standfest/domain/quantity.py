"""Quantities: whole numbers of a unit's smallest step, decimal strings outside."""

from decimal import Decimal

from standfest.domain.faults import Fault, Invalid


def to_steps(quantity: str, decimals: int, pointer: str) -> int:
    """Steps of 10^-decimals in a decimal string such as `"1.250"`; trailing zeros beyond `decimals` are fine.

    Raises:
        Invalid: where it has more decimals than the unit.
    """
    whole, _, fraction = quantity.partition(".")
    if len(fraction) > decimals and fraction[decimals:].strip("0"):
        places = f"{decimals} decimals" if decimals else "no decimals"
        fault = Fault(pointer, "too-many-decimals", f"this unit has {places}, {quantity} has more")
        raise Invalid((fault,))
    return int(whole + fraction[:decimals].ljust(decimals, "0"))


def from_steps(steps: int, decimals: int) -> str:
    """The decimal string of a number of steps, with as many decimals as the unit has."""
    return str(Decimal(steps).scaleb(-decimals)) if decimals else str(steps)
