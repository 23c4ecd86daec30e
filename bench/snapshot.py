"""What it costs to keep a large catalogue on disk, and what an event loop beside it notices.

.venv/bin/python -m bench.snapshot 100000
"""

import asyncio
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import uvloop

from standfest.catalogue.moment import Moment
from standfest.catalogue.snapshot_file import SnapshotFile
from standfest.catalogue.snapshot_format import Contents, Position
from standfest.domain.products import Product

_TICK_S = 0.001


def catalogue(size: int) -> Contents:
    """A catalogue of so many products."""
    products = tuple(
        Product(
            number, f"SKU-{number:07d}", "Deutscher Name eines Artikels", "English name of the item", "piece", 0,
            Decimal("12.3400"), "standard", True, "tracked", 1,
        )
        for number in range(size)
    )  # fmt: skip
    return Contents(products, (), Position("1", "server"), Moment.ago(0))


class Loop:
    """Watches how late the event loop is."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            self._late_ms.append((time.perf_counter() - began - _TICK_S) * 1000)

    def take(self) -> str:
        """The lateness since the last time."""
        late, self._late_ms = sorted(self._late_ms), []
        return (
            f"loop late by p50 {late[len(late) // 2]:.2f}, p99 {late[int(len(late) * 0.99)]:.2f}, max {late[-1]:.2f} ms"
        )


async def measure(size: int, file: SnapshotFile) -> None:
    """Prints one line for each thing that is done."""
    contents = catalogue(size)
    loop = Loop()
    await asyncio.sleep(1)
    print(f"idle: {loop.take()}")
    for name, work in (
        ("write", lambda: file.write(contents)),
        ("age", lambda: file.write_age(contents)),
        ("load", file.load),
    ):
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.to_thread(work)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        await asyncio.sleep(2 * _TICK_S)
        print(f"{name}: {seconds:.3f} s, {cpu_s:.3f} s of processor time; {loop.take()}")
    print(f"{size} products: {file.size_bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(int(sys.argv[1]), SnapshotFile(Path(folder) / "api.snapshot")))
