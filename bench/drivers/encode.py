"""Processor time that encoding the parameters of a batch takes, without any server: robust on a busy machine.

python -m bench.drivers.encode
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap, Dumper, PyFormat, Transformer
from psycopg.types.array import ListBinaryDumper, ListDumper
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper

from bench.drivers.place import make_orders
from standfest.domain.stock import in_full
from standfest.intake.decisions import decision_columns, head_columns
from standfest.storage.arrays import ArrayDumper

VARIANTS: dict[str, type[Dumper]] = {
    "psycopg's text lists (its first choice)": ListDumper,
    "psycopg's binary lists": ListBinaryDumper,
    "column-wise arrays": ArrayDumper,
}
REPEATS = 40


class Context:
    """As much of a connection as adapting needs."""

    connection = None

    def __init__(self, dumper: type[Dumper]) -> None:
        self.adapters = AdaptersMap(psycopg.adapters)
        self.adapters.register_dumper(int, Int8BinaryDumper)
        self.adapters.register_dumper(str, StrBinaryDumper)
        self.adapters.register_dumper(list, dumper)


def cpu_us(work: Callable[[], object]) -> float:
    """Median processor time of one call in microseconds."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append((time.process_time() - began) * 1e6)
    return statistics.median(times)


def main() -> None:
    """Prints a Markdown table."""
    rng = random.Random(1)
    print("| orders in a batch | lists | CPU µs/order |\n|---|---|---|")
    for size in (1, 16, 128):
        orders = make_orders(size, rng)
        decisions = [in_full(order) for order in orders]
        columns: list[list[Any]] = [*head_columns(orders).values(), *decision_columns(decisions).values()]
        for name, dumper in VARIANTS.items():
            context = Context(dumper)

            def encode(context: Any = context, columns: list[list[Any]] = columns) -> None:
                Transformer(context).dump_sequence(columns, [PyFormat.AUTO] * len(columns))

            print(f"| {size} | {name} | {cpu_us(encode) / size:.1f} |")


if __name__ == "__main__":
    main()
