"""Orders without a receipt are explained by what processes noted and how they ended, or they are a fault."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from standfest.domain.identity import order_number
from standfest.intake.audit import behind
from standfest.intake.audit.auditor import Auditor
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.model import Entry
from standfest.intake.audit.receipted import BLOCK
from standfest.intake.audit.runs import Runs
from standfest.intake.audit.unsettled import PENDING_MAX
from standfest.intake.direct import Placement, place
from standfest.intake.entries import EntryTooNew
from standfest.intake.receipt_log import receipt_files, receipt_log
from standfest.intake.receipt_runs import RUN_SUFFIX, Mark, RunFile, began_mark
from standfest.intake.receipts import Receipt
from standfest.interfaces.status_pages import status_pages
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from tests.integration.orders import order, pool_of, query, stock_product
from tests.support.audit import NoJournal, receipt_for, running_auditor, until, write_receipts
from tests.support.postgres import TestDatabase

ADDRESS = "127.0.25.10"
EXPLAINED_WITHIN_S = 60.0


async def placed(pool: Database, database: TestDatabase, orders: int) -> list[Placement]:
    """Orders of which nobody has a receipt yet."""
    apple = stock_product(database, f"apple-{uuid4()}", 10_000)
    outcomes = await place(pool, [order(str(uuid4()), (apple, 1)) for _ in range(orders)], Deadline.after(30))
    return [outcome for outcome in outcomes if isinstance(outcome, Placement)]


def text_of(directory: Path, service: str) -> str:
    """All receipts that one service wrote."""
    return "".join(path.read_text() for path in receipt_files(directory) if path.name.startswith(f"{service}-"))


async def test_orders_of_a_process_that_ended_uncleanly_get_their_receipts_anew(
    database: TestDatabase, tmp_path: Path
) -> None:
    """Their receipts are counted as lost, are in the audit's own file, say what was promised, and nothing is amiss."""
    pool = pool_of(database)
    run = RunFile(tmp_path / f"api-20260101T000000.000000Z{RUN_SUFFIX}")
    run.write([began_mark("api")])
    try:
        first, *others = await placed(pool, database, 6)
        await write_receipts(tmp_path, [receipt_for(first)], "api-2")
        run.write([])
        run.close()  # as when it is killed: the lock is free, and nothing says that it ended
        async with running_auditor(tmp_path, pool.beside(2)) as auditor:
            report = await until(
                auditor, lambda report: report.receipts_rewritten == 5, "written anew", EXPLAINED_WITHIN_S
            )
            report = await until(auditor, lambda report: report.acknowledged == 6, "read again", EXPLAINED_WITHIN_S)
            assert report.well, report
        written = text_of(tmp_path, "audit")
        assert all(str(placement.order.order_id) in written for placement in others)
        assert written.count('"promise":"confirmed"') == 5
    finally:
        await pool.close()


async def test_orders_whose_clients_got_no_answer_need_no_receipt(database: TestDatabase, tmp_path: Path) -> None:
    """What a process noted as unanswered is no fault and not counted as lost; what nobody noted is one."""
    pool = pool_of(database)
    try:
        noted, other = await placed(pool, database, 2)
        async with receipt_log(tmp_path, "api") as log, running_auditor(tmp_path, pool.beside(2)) as auditor:
            log.note_unanswered(noted.order.order_id)
            report = await until(
                auditor, lambda report: "unreceipted" in report.fault_counts, "unreceipted", EXPLAINED_WITHIN_S
            )
            [fault] = report.faults
            assert str(other.order.order_id) in fault.detail
            assert (report.receipts_rewritten, report.fault_counts) == (0, {"unreceipted": 1})
            log.append(receipt_for(other))
            report = await until(auditor, lambda report: report.well, "well with its receipt", EXPLAINED_WITHIN_S)
    finally:
        await pool.close()


async def test_receipts_of_another_node_count_and_a_silent_node_accuses_nobody(
    database: TestDatabase, tmp_path: Path
) -> None:
    """Whoever goes over all orders asks the other auditors; while one says nothing, orders without a receipt wait."""
    pool = pool_of(database)
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    try:
        placements = await placed(pool, database, 4)
        for node in ("n1", "n2"):
            (tmp_path / node).mkdir()
        await write_receipts(tmp_path / "n1", [receipt_for(placement) for placement in placements[:2]])
        await write_receipts(tmp_path / "n2", [receipt_for(placement) for placement in placements[2:]])
        async with asked(tmp_path / "n1", pool, [f"{ADDRESS}:{port}"]) as auditor:
            report = await until(auditor, lambda report: report.orders_unreceipted == 2, "two not known")
            await asyncio.sleep(15)  # longer than an order may take to be answered
            report = auditor.report()
            assert (report.orders_unreceipted, report.fault_counts) == (2, {})
            async with running_auditor(tmp_path / "n2", pool.beside(2)) as other:
                queries = {"/v1/audit/receipted": other.delta, "/v1/audit/explain": other.explanation}
                async with status_pages(CollectorRegistry(), ADDRESS, port, {}, queries):
                    await until(auditor, lambda report: report.orders_unreceipted == 0, "known", EXPLAINED_WITHIN_S)
                    [late] = await placed(pool, database, 1)
                    report = await until(
                        auditor, lambda report: "unreceipted" in report.fault_counts, "accused", EXPLAINED_WITHIN_S
                    )
                    assert str(late.order.order_id) in report.faults[0].detail
    finally:
        await pool.close()


@contextlib.asynccontextmanager
async def asked(directory: Path, pool: Database, peers: Sequence[str]) -> AsyncIterator[Auditor]:
    """An auditor that knows others."""
    stop = asyncio.Event()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        auditor = Auditor("n1", directory, pool.beside(2), NoJournal(), session=session, peers=peers)
        running = asyncio.create_task(auditor.run(stop))
        try:
            yield auditor
        finally:
            stop.set()
            await running


async def test_blocks_are_sealed_and_no_role_of_the_order_plane_may_change_a_seal(
    database: TestDatabase, tmp_path: Path
) -> None:
    """Once a block is full and each order in it has a receipt it is sealed, on this node's disk as well."""
    pool = pool_of(database)
    try:
        placements = [each for _ in range(6) for each in await placed(pool, database, 50)]
        await write_receipts(tmp_path, [receipt_for(placement) for placement in placements])
        async with running_auditor(tmp_path, pool.beside(2)) as auditor:
            await until(auditor, lambda report: report.seals == 1, "sealed", EXPLAINED_WITHIN_S)
            assert auditor.report().well
        assert query(database, "SELECT block, orders, length(marks) FROM audit_seal") == [(0, BLOCK - 1, 4 * BLOCK)]
        copy = (tmp_path / "audit.seals").read_text()
        assert query(database, "SELECT encode(digest, 'hex') FROM audit_seal") == [(copy.split()[1],)]
        grants = "SELECT privilege_type FROM information_schema.role_table_grants WHERE grantee = 'standfest_app'"
        for table, wanted in (("audit_seal", ["INSERT", "SELECT"]), ("audit_baseline", ["SELECT"])):
            rows = query(database, f"{grants} AND table_name = '{table}' ORDER BY 1")
            assert [row[0] for row in rows] == wanted
    finally:
        await pool.close()


class _EverythingWaits:
    """Stands for a journal with a large backlog: it holds every order but one, written by a later release."""

    def __init__(self, but: UUID) -> None:
        self._but = but

    async def glance_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        """All of them but one."""
        return {each: EntryTooNew("of a later release") for each in order_ids if each != self._but}

    async def find_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        """All of them but one."""
        return await self.glance_many(order_ids)


async def test_receipts_behind_a_large_backlog_are_audited(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more receipts pending than are kept in memory the audit reads on, finds what is missing behind them, and
    says so where they wait for too long."""
    missing = UUID(int=2**64)
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    ids = [*(UUID(int=number) for number in range(PENDING_MAX + 600)), missing]
    receipts = [Receipt(each, order_number(each), "0" * 64, "1" * 64, at, "journal", "accepted") for each in ids]
    pool = pool_of(database)
    try:
        for start in range(0, len(receipts), 5_000):
            await write_receipts(tmp_path, receipts[start : start + 5_000], f"api-{start}")
        async with running_auditor(tmp_path, pool.beside(2), _EverythingWaits(missing)) as auditor:
            report = await until(auditor, lambda report: report.acknowledged == len(ids), "all read", 120)
            report = await until(auditor, lambda report: report.missing == 1, "missing", 120)
            assert report.receipts_unaudited_bytes == 0
            assert (report.waiting, report.unknown) == (len(ids) - 1, 0)
            monkeypatch.setattr(behind, "WAITING_MAX_S", 0.0)
            assert "orders in the journal" in [fault.subject for fault in auditor.report().faults]
    finally:
        await pool.close()


@pytest.mark.parametrize("disturb", ["removed", "shortened", "replaced", "lengthened"])
async def test_a_process_notices_what_is_done_to_its_open_file(tmp_path: Path, disturb: str) -> None:
    """It says so in its statement, with the receipts that the file held, and goes on in another file."""
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    receipt = Receipt(UUID(int=1), order_number(UUID(int=1)), "0" * 64, "1" * 64, at, "direct", "confirmed")
    async with receipt_log(tmp_path, "api") as log:
        log.append(receipt)
        await _until(lambda: log.written == 1)
        [path] = receipt_files(tmp_path)
        match disturb:
            case "removed":
                path.unlink()
            case "shortened":
                os.truncate(path, 0)
            case "lengthened":
                with path.open("ab") as file:
                    file.write(b"more\n")
            case _:
                path.rename(tmp_path / "aside")
                path.write_bytes(b"")
        await _until(lambda: log.statement().disturbances == 1)
        log.append(receipt)
        await _until(lambda: log.written == 2)
        statement = log.statement()
        assert (statement.given, statement.written, statement.lost) == (2, 2, 0)
        assert [(file.name[-10:], file.lines) for file in statement.files] == [("0001.jsonl", 1), ("0002.jsonl", 1)]
        assert path.name in statement.disturbed[0]


async def test_a_clean_end_is_noted_and_an_unclean_one_is_known(database: TestDatabase, tmp_path: Path) -> None:
    """A run file says that a process began, what its files hold, and that it ended; a lock held means that it lives."""
    pool = pool_of(database)
    looks = Looks(pool, NoJournal())
    follower = Follower(tmp_path, looks, Findings(), Faults())
    async with receipt_log(tmp_path, "api"):
        runs = Runs(tmp_path, follower, Faults())
        await _until(lambda: _lives(runs))
        assert runs.windows == []
    runs.look()
    assert (runs.alive(), runs.windows) == ({}, [])
    killed = RunFile(tmp_path / f"api-2-20260101T000000.000000Z{RUN_SUFFIX}")
    killed.write([began_mark("api-2"), Mark(0.0, "unanswered", order_id=UUID(int=9))])
    killed.close()
    runs.look()
    assert len(runs.windows) == 1
    now = datetime.datetime.now(datetime.UTC).timestamp()
    assert runs.explains(UUID(int=9), 0.0) == "unanswered"
    assert runs.explains(UUID(int=8), now) == "unclean"
    assert runs.explains(UUID(int=8), now - 60) == ""
    await pool.close()


def _lives(runs: Runs) -> bool:
    runs.look()
    return bool(runs.alive())


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
