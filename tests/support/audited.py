"""A shop whose receipts a real auditor audits, in a thread: database, receipts, their writer, and the auditor."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp
import psycopg
from prometheus_client import CollectorRegistry

from standfest.catalogue.stock import Count, put_many
from standfest.domain.products import Product
from standfest.intake.audit.auditor import Auditor
from standfest.intake.audit.report import Report
from standfest.intake.direct import Placement, place
from standfest.intake.receipt_log import ReceiptLog, receipt_log
from standfest.interfaces.status_pages import status_pages
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from tests.integration.orders import order, pool_of, stock_product
from tests.support.audit import NoJournal, receipt_for
from tests.support.postgres import TestDatabase
from tests.support.waiting import PATIENCE

ADDRESS = "127.0.25.9"
_BATCH = 50

Result = TypeVar("Result")


class AuditedShop:
    """A stage for falsifications. Open it with `audited_shop`."""

    def __init__(self, database: TestDatabase, directory: Path) -> None:
        self.database = database
        self.directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = contextlib.AsyncExitStack()
        self._writing = contextlib.AsyncExitStack()
        self._log: ReceiptLog | None = None
        self._auditor: Auditor | None = None
        self.pool: Database | None = None
        self._products: tuple[Product, ...] = ()

    @property
    def directories(self) -> Sequence[Path]:
        """The folder of receipts."""
        return [self.directory]

    def connect(self) -> psycopg.Connection[Any]:
        """A superuser's connection."""
        return self.database.cluster.admin(self.database.name)

    def rotate(self) -> None:
        """Ends the process that gives receipts, and starts another, which has given one."""
        self.run(self._end_writing())
        self.run(self._begin_writing())
        self.sell(1)

    def place_behind(self) -> str:
        """Stores an order of which nobody has a receipt."""
        [placement] = self.run(self._place(1))
        return str(placement.order.order_id)

    def sell(self, orders: int) -> list[Placement]:
        """Places orders, and gives their receipts."""

        async def sell() -> list[Placement]:
            placements = await self._place(orders)
            assert self._log is not None
            for placement in placements:
                self._log.append(receipt_for(placement))
            return placements

        return self.run(sell())

    def report(self) -> Report:
        """What the auditor says."""

        async def ask() -> Report:
            assert self._auditor is not None
            return self._auditor.report()

        return self.run(ask())

    def kinds(self) -> set[str]:
        """All kinds of findings and faults that the auditor has now."""
        return kinds_of(self.report())

    def until(self, holds: Callable[[Report], bool], what: str, timeout_s: float = 60) -> float:
        """Waits until a report is as wanted; how many seconds that took."""
        began, latest_s = time.monotonic(), PATIENCE * timeout_s
        while not holds(report := self.report()):
            assert time.monotonic() - began < latest_s, f"not within {latest_s:g} s: {what}: {report}"
            time.sleep(0.1)
        return time.monotonic() - began

    def until_well(self) -> None:
        """Waits until all is well, all receipts are read, and stock and feed were looked at since this call."""
        began = time.monotonic()

        def well(report: Report) -> bool:
            ages = (report.books_pass_age_s, report.receipts_pass_age_s, report.orders_pass_age_s)
            since = time.monotonic() - began
            return (
                report.well and not report.orders_unreceipted and all(age is not None and age < since for age in ages)
            )

        self.until(well, "all is well", 90)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Runs something in the shop's thread."""
        future: Future[Result] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(120)

    def _open(self, orders: int) -> None:
        self._products = (stock_product(self.database, "apple", 10**6), stock_product(self.database, "pear", 10**6))
        self._thread.start()
        self.run(self._start())
        for _ in range(0, orders, _BATCH):
            self.sell(_BATCH)

    def _close(self) -> None:
        self.run(self._end_writing())
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    async def _start(self) -> None:
        self.pool = pool_of(self.database)
        self._stack.push_async_callback(self.pool.close)
        async with self.pool.write(10) as connection:
            counts = [Count(product.sku, "900000") for product in self._products]
            await put_many(connection, counts, datetime.datetime.now(datetime.UTC))
        with socket.socket() as free:
            free.bind((ADDRESS, 0))
            port = free.getsockname()[1]
        documents = {"/metrics/receipts": lambda: self._log.statement() if self._log else None}
        await self._stack.enter_async_context(status_pages(CollectorRegistry(), ADDRESS, port, documents))
        await self._begin_writing()
        session = await self._stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)))
        auditor = Auditor(
            "n1", self.directory, self.pool.beside(2), NoJournal(), session=session, writers=[f"{ADDRESS}:{port}"]
        )
        await self._stack.enter_async_context(_running(auditor))
        self._auditor = auditor

    async def _begin_writing(self) -> None:
        self._writing = contextlib.AsyncExitStack()
        self._log = await self._writing.enter_async_context(receipt_log(self.directory, "api"))

    async def _end_writing(self) -> None:
        await self._writing.aclose()

    async def _place(self, orders: int) -> list[Placement]:
        assert self.pool is not None
        apple, pear = self._products
        wanted = [order(str(uuid4()), (apple, 2), (pear, 3)) for _ in range(orders)]
        outcomes = await place(self.pool, wanted, Deadline.after(30))
        return [outcome for outcome in outcomes if isinstance(outcome, Placement)]


def kinds_of(report: Report) -> set[str]:
    """All kinds of findings and faults in a report."""
    figures = {kind: getattr(report, kind) for kind in ("missing", "doubled", "altered", "damaged")}
    return {kind for kind, count in figures.items() if count} | report.fault_counts.keys()


@contextlib.asynccontextmanager
async def _running(auditor: Auditor) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(auditor.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


@contextlib.contextmanager
def audited_shop(database: TestDatabase, directory: Path, orders: int) -> Iterator[AuditedShop]:
    """A shop with orders whose receipts are being audited."""
    shop = AuditedShop(database, directory)
    shop._open(orders)
    try:
        yield shop
    finally:
        shop._close()
