"""Figures with their goals: a benchmark's result is a list of them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
"""As `bench --json` prints it."""


@dataclass(frozen=True)
class Goal:
    """What is to be reached."""

    what: str
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    """Empty: a ratio."""

    def reached(self, value: float) -> bool:
        """Whether a figure does."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}{_spaced(self.unit)}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}{_spaced(self.unit)}"


STRAIGHT = Goal("orders/s straight to the API processes ÷ pgbench", at_least=1.0)
DOORS = Goal("orders/s through the doors ÷ pgbench", at_least=0.9)
MANY_LINES = Goal("lines/s with 21 lines an order ÷ with three", at_least=1.5)
HALF_P99 = Goal("p99 at half the rate", at_most=30.0, unit="ms")
HALF_P50 = Goal("p50 at half the rate", at_most=8.0, unit="ms")
LONELY = Goal("p50 of one client ÷ pgbench's with one", at_most=2.5)
HOT = Goal("orders/s of one product ÷ of all products", at_least=0.8)
OVERSOLD = Goal("pieces sold that are not there", at_most=0, unit="pieces")
TAKEN = Goal("accepted/s under overload ÷ the most that is reached", at_least=0.9)
TAKEN_P99 = Goal("p99 of the accepted under overload", at_most=500.0, unit="ms")
REFUSED_P99 = Goal("p99 of the refused (429) under overload", at_most=50.0, unit="ms")
HASTY = Goal("refusals without Retry-After", at_most=0.0)
OTHERWISE = Goal("orders answered otherwise than 201, 202 and 429, or not at all", at_most=0.0)
BOTH = Goal("share of the accepted under overload that cost work on both paths", at_most=0.02)
READ = Goal("share of reads under overload that are answered", at_least=1.0)
AFTERWARDS = Goal("p99 at half the rate, after the overload", at_most=30.0, unit="ms")
ACCEPTED = Goal("accepted/s with the database down ÷ pgbench", at_least=0.35)
DRAINED = Goal("drained/s ÷ direct rate", at_least=0.8)
FILE = Goal("lines/s of a wholesaler's file ÷ with three lines an order", at_least=0.7)
GREW_READ = Goal("p50 of reading an order among many ÷ among 10,000", at_most=1.2)
GREW_LIST = Goal("p50 of a customer's page of 50 among many ÷ among 10,000", at_most=1.2)
GREW_INSERT = Goal("orders/s among many ÷ among 10,000", at_least=0.9)
GREW_MEMORY = Goal("memory of an API process among many", at_most=150.0, unit="MiB")


@dataclass(frozen=True)
class Figure:
    """One figure, over several rounds."""

    goal: Goal
    values: Sequence[float]
    """One a round."""

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool:
        """Whether the median is where it should be."""
        return self.goal.reached(self.median)

    def document(self) -> Document:
        """For machines."""
        return {
            "what": self.goal.what,
            "goal": str(self.goal),
            "median": round(self.median, 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "unit": self.goal.unit,
            "reached": self.reached,
        }


@dataclass(frozen=True)
class Result:
    """What one benchmark found."""

    name: str
    figures: Sequence[Figure]
    rates: Mapping[str, Sequence[float]]
    """What the figures were made of: orders a second and the like, a value a round."""
    parts: Mapping[str, Mapping[str, float]]
    """Of each part of the cluster: milliseconds of processor time an order, and MiB of memory."""

    def document(self) -> Document:
        """For machines."""
        return {
            "name": self.name,
            "figures": [figure.document() for figure in self.figures],
            "rates": {
                name: {"median": round(statistics.median(values), 3), "min": min(values), "max": max(values)}
                for name, values in self.rates.items()
            },
            "parts": {name: dict(values) for name, values in self.parts.items()},
        }


def number(value: float) -> str:
    """For people: three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _spaced(unit: str) -> str:
    return f" {unit}" if unit else ""
