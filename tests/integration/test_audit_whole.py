"""A whole pass at once, and a real API process whose receipts are audited although it was killed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from standfest.intake.audit.looks import Looks
from standfest.intake.audit.whole import CannotLook, extent, whole_pass
from standfest.intake.receipt_log import receipt_files
from tests.integration.orders import order, place_one, pool_of, query, stock_product
from tests.integration.test_api_orders import new_product, place
from tests.integration.test_api_served import new_key, until_kept
from tests.integration.test_receipt_log import receipt
from tests.support.api import shared_journal
from tests.support.audit import NoJournal, receipt_for, running_auditor, until, write_receipts
from tests.support.postgres import PostgresCluster, TestDatabase
from tests.support.served import served_api
from tests.support.waiting import wait_until


async def test_a_whole_pass_finds_all_that_is_wrong(database: TestDatabase, tmp_path: Path) -> None:
    """Receipts of several nodes and more orders than a batch holds; it says how far it is, and what it found."""
    apple, pool = stock_product(database, "apple", 5_000), pool_of(database)
    directories = {node: tmp_path / node for node in ("n1", "n2", "never-started")}
    try:
        placements = [await place_one(pool, order(f"k{number}", (apple, 1))) for number in range(250)]
        receipts = [receipt_for(placement) for placement in placements]
        await write_receipts(directories["n1"], receipts[:120])
        await write_receipts(directories["n2"], [*receipts[100:], receipt(7)])
        looks, told = Looks(pool, NoJournal()), {"receipts": 0, "orders": 0}

        def advance(what: str, amount: int) -> None:
            told[what] += amount

        sizes = await extent(directories, looks)
        found = await whole_pass(directories, looks, advance)
        assert (found.acknowledged, found.found, found.orders) == (271, 270, 250)
        assert (found.missing, found.doubled, found.altered, found.unknown, found.damaged) == (1, 0, 0, 0, 0)
        assert (told["receipts"], told["orders"]) == sizes
        assert [finding.number for finding in found.findings] == [receipt(7).number]
        with database.cluster.admin(database.name) as connection:
            connection.execute("UPDATE order_line SET quantity = 7 WHERE order_ref = 3")
            connection.execute("DELETE FROM orders WHERE id = 4")
        found = await whole_pass(directories, looks, advance)
        assert (found.missing, found.altered, found.orders, found.well) == (2, 1, 249, False)
    finally:
        await pool.close()


async def test_a_whole_pass_without_a_database_says_nothing(
    disposable_postgres: PostgresCluster, tmp_path: Path
) -> None:
    """Where it cannot look it says so, and not that all is well or missing."""
    database = disposable_postgres.create_database()
    pool = pool_of(database)
    try:
        disposable_postgres.kill_primary()
        with pytest.raises(CannotLook):
            await extent({"n1": tmp_path}, Looks(pool, NoJournal()))
    finally:
        await pool.close()


async def test_receipts_of_a_killed_process_are_audited(database: TestDatabase, tmp_path: Path) -> None:
    """An API process writes a receipt for every acknowledgement and recorded refusal, repeats included; those on disk
    when it is killed are audited."""
    key = new_key(database)
    with served_api(database, shared_journal(), tmp_path) as api, api.client(key) as client:
        api.wait_until_ready()
        sku = new_product(client)
        until_kept(api, sku)
        with ThreadPoolExecutor(8) as workers:
            answers = list(workers.map(lambda number: place(client, sku, key=f"key-{number % 30}"), range(60)))
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {201, 409}
        directory = api.receipts
        wait_until(lambda: sum(path.read_bytes().count(b"\n") for path in receipt_files(directory)) == 60, "written", 5)
        api.kill()
    [[orders]] = query(database, "SELECT count(*) FROM orders")
    assert orders == 30
    pool = pool_of(database)
    try:
        async with running_auditor(directory, pool.beside(2)) as auditor:
            report = await until(auditor, lambda report: report.found == 60, "all found")
            assert report.well
            assert report.acknowledged == 60
    finally:
        await pool.close()
