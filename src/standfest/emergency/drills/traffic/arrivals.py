"""When the orders of an open loop arrive: a schedule of its own, so that no answer can slow it."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Peaks:
    """Times of more orders: every `every_s` seconds, for `length_s` seconds, `factor` times as many."""

    every_s: float = 30.0
    length_s: float = 3.0
    factor: float = 3.0

    def factor_at(self, offset_s: float) -> float:
        """How many times the basic rate holds at this offset from the beginning."""
        return self.factor if offset_s % self.every_s >= self.every_s - self.length_s else 1.0


def even(rate_per_s: float, duration_s: float | None) -> Iterator[float]:
    """Offsets in seconds at even distances, up to the duration, or without an end."""
    number = 0
    while duration_s is None or number / rate_per_s < duration_s:
        yield number / rate_per_s
        number += 1


def poisson(rate_per_s: float, duration_s: float | None, random: Random, peaks: Peaks | None = None) -> Iterator[float]:
    """Offsets in seconds of independent arrivals, ascending, up to the duration, or without an end.

    Peaks are exact: candidates come at the highest rate and are thinned to the rate of their moment.
    """
    highest = 1.0 if peaks is None else max(1.0, peaks.factor)
    offset_s = 0.0
    while True:
        offset_s += random.expovariate(rate_per_s * highest)
        if duration_s is not None and offset_s >= duration_s:
            return
        factor = 1.0 if peaks is None else peaks.factor_at(offset_s)
        if random.random() * highest < factor:
            yield offset_s
