"""A real auditor on a real database, with receipts that a real log wrote."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import UUID

from standfest.intake.audit.auditor import Auditor
from standfest.intake.audit.model import Entry, JournalReader
from standfest.intake.audit.report import Report
from standfest.intake.direct import Placement
from standfest.intake.receipt_log import receipt_log
from standfest.intake.receipts import Receipt, receipt_of
from standfest.storage.database import Database
from tests.support.waiting import PATIENCE

FOUND_WITHIN_S = 30.0
"""Three times what the product promises of recent orders."""


class NoJournal:
    """Stands for the journal where there is none: nothing is in it."""

    async def glance_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        """Nothing."""
        return {}

    async def find_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        """Nothing."""
        return {}


def receipt_for(placement: Placement) -> Receipt:
    """What the client of a placement was given."""
    return receipt_of(placement.order, placement.agreed_hash, placement.promise)


async def write_receipts(directory: Path, receipts: Sequence[Receipt], service: str = "api") -> None:
    """One process's receipts, written and closed."""
    async with receipt_log(directory, service) as log:
        for receipt in receipts:
            log.append(receipt)


@contextlib.asynccontextmanager
async def running_auditor(
    directory: Path, pool: Database, journal: JournalReader | None = None
) -> AsyncIterator[Auditor]:
    """An auditor of node n1 until the end of the block; a fault of its own ends the test."""
    stop = asyncio.Event()
    auditor = Auditor("n1", directory, pool, journal or NoJournal())
    running = asyncio.create_task(auditor.run(stop))
    try:
        yield auditor
    finally:
        stop.set()
        await running


async def until(auditor: Auditor, holds: Callable[[Report], bool], what: str, timeout_s: float = 30) -> Report:
    """The first report for which `holds`; the last one is shown where none comes in time."""
    deadline = time.monotonic() + PATIENCE * timeout_s
    while True:
        report = auditor.report()
        if holds(report):
            return report
        assert time.monotonic() < deadline, f"not within {PATIENCE * timeout_s:g} s: {what}: {report}"
        await asyncio.sleep(0.05)
