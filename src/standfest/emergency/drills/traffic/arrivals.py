"""When the orders of an open loop arrive: a schedule of its own, so that no answer can slow it."""

from collections.abc import Iterator
from random import Random


def poisson(rate_per_s: float, random: Random) -> Iterator[float]:
    """Offsets in seconds of independent arrivals, ascending, without an end."""
    offset_s = 0.0
    while True:
        offset_s += random.expovariate(rate_per_s)
        yield offset_s
