"""Where a part of the audit can see nothing for too long, it is not well, and says which part."""

from __future__ import annotations

from pathlib import Path

import pytest

from standfest.intake.audit import behind as behind_module
from standfest.intake.audit import watch as watch_module
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.report import Report
from standfest.intake.audit.suspects import Suspects
from standfest.intake.audit.watch import Watch
from standfest.storage.database import Database
from tests.integration.orders import order, place_one, stock_product
from tests.support.audit import NoJournal, running_auditor, until
from tests.support.postgres import TestDatabase

BOUND_S = 2.0


def behind_with(report: Report) -> set[str]:
    """What an audit has not looked at for too long."""
    return {fault.subject for fault in report.faults if fault.kind == "behind"}


async def test_an_audit_that_may_not_read_seals_is_not_well(
    database: TestDatabase, pool: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the grant nothing is copied, counted or sealed: each says so, and is well once it can look."""
    monkeypatch.setattr(behind_module, "SEALS_AGE_MAX_S", BOUND_S)
    monkeypatch.setattr(behind_module, "CENSUS_AGE_MAX_S", BOUND_S)
    monkeypatch.setattr(behind_module, "SEALED_PASS_AGE_MAX_S", BOUND_S)
    with database.cluster.admin(database.name) as superuser:
        superuser.execute("REVOKE ALL ON audit_seal FROM standfest_app")
        async with running_auditor(tmp_path, pool.beside(2)) as auditor:
            blind = {"seals", "receipts of orders", "sealed blocks"}
            await until(auditor, lambda report: behind_with(report) == blind, "all three behind")
            monkeypatch.undo()
            superuser.execute("GRANT SELECT, INSERT ON audit_seal TO standfest_app")
            await until(auditor, lambda report: report.well, "well again")


async def test_a_watch_that_may_not_read_orders_is_not_well(
    database: TestDatabase, pool: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest orders are not watched while a table cannot be read, and that is said."""
    monkeypatch.setattr(behind_module, "WATCH_AGE_MAX_S", BOUND_S)
    with database.cluster.admin(database.name) as superuser:
        superuser.execute("REVOKE SELECT ON order_line FROM standfest_app")
        async with running_auditor(tmp_path, pool.beside(2)) as auditor:
            await until(auditor, lambda report: "newest orders" in behind_with(report), "behind")


async def test_what_was_watched_counts_once_it_is_proven(
    database: TestDatabase, pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amid a pass, too, nothing was looked at where no standby answers: the primary may have been replaced."""
    monkeypatch.setattr(watch_module, "BATCH", 1)
    apple = stock_product(database, "apple", 10)
    for number in range(2):
        await place_one(pool, order(f"k{number}", (apple, 1)))
    looks = Looks(pool, NoJournal())
    watch = Watch(pool, looks, Suspects(looks, Findings()))
    assert await watch.step() is False
    with database.standby.paused():
        assert await watch.step() is None


async def test_an_order_whose_receipt_is_not_seen_for_long_is_said(
    database: TestDatabase, pool: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it can be said whether it should have one the order is behind; then it is accused, and behind no more."""
    monkeypatch.setattr(behind_module, "UNRECEIPTED_AGE_MAX_S", BOUND_S)
    apple = stock_product(database, "apple", 10)
    await place_one(pool, order("k", (apple, 1)))
    async with running_auditor(tmp_path, pool.beside(2)) as auditor:
        waits = {"orders without a receipt"}
        await until(auditor, lambda report: behind_with(report) == waits, "waits for its receipt")
        await until(auditor, lambda report: report.fault_counts == {"unreceipted": 1}, "accused")
