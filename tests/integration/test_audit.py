"""The audit finds what somebody does to stored orders behind the product's back, and accuses nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from standfest.catalogue.stock import Count, put_many
from standfest.domain.cancellation import CancelRequest, LineWish
from standfest.intake.audit.auditor import Auditor
from standfest.intake.audit.report import Report
from standfest.intake.direct import Placement, place
from standfest.sales.backorders import confirm_backorders
from standfest.sales.cancel import CancelCommand, cancel
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from tests.integration.orders import CLIENT, order, place_one, pool_of, query, stock_product
from tests.support.audit import FOUND_WITHIN_S, receipt_for, running_auditor, until, write_receipts
from tests.support.postgres import PostgresCluster, TestDatabase


@dataclass(frozen=True)
class Shop:
    """A database with acknowledged orders, and an auditor that has looked at them."""

    database: TestDatabase
    pool: Database
    directory: Path
    placements: Sequence[Placement]
    auditor: Auditor

    def tamper(self, placement: Placement, *statements: str) -> None:
        """Runs statements as a superuser for one order: %(ref)s is its position."""
        with self.database.cluster.admin(self.database.name) as connection, connection.transaction():
            found = connection.execute("SELECT id FROM orders WHERE order_id = %s", (placement.order.order_id,))
            row = found.fetchone()
            assert row is not None
            for statement in statements:
                connection.execute(statement.encode(), {"ref": row[0]})


@contextlib.asynccontextmanager
async def running_shop(database: TestDatabase, directory: Path, orders: int = 4) -> AsyncIterator[Shop]:
    """A shop with orders of two lines each, all found well."""
    apple, pear = stock_product(database, "apple", 500), stock_product(database, "pear", 500)
    pool = pool_of(database)
    try:
        placements = [await place_one(pool, order(f"k{number}", (apple, 2), (pear, 3))) for number in range(orders)]
        await write_receipts(directory, [receipt_for(placement) for placement in placements])
        async with running_auditor(directory, pool.beside(2)) as auditor:
            await until(
                auditor, lambda report: report.found == orders and report.orders_pass_age_s is not None, "all found", 20
            )
            yield Shop(database, pool, directory, placements, auditor)
    finally:
        await pool.close()


_COPY = "id, order_id, client_id, idempotency_key, request_hash, content_hash, status, version, path, accepted_at"
_COPIED = "customer_reference, external_reference, currency, net, gross, agreed"

DAMAGE = {
    "an order removed": ("missing", ["DELETE FROM orders WHERE id = %(ref)s"]),
    "an order removed with all of it": (
        "missing",
        [
            "DELETE FROM order_line WHERE order_ref = %(ref)s",
            "DELETE FROM order_event WHERE order_ref = %(ref)s",
            "DELETE FROM orders WHERE id = %(ref)s",
        ],
    ),
    "a quantity": ("altered", ["UPDATE order_line SET quantity = 9 WHERE order_ref = %(ref)s AND position = 1"]),
    "a price": (
        "altered",
        ["UPDATE order_line SET unit_price = 1, net = 2 WHERE order_ref = %(ref)s AND position = 1"],
    ),
    "an article": ("altered", ["UPDATE order_line SET sku = 'gold' WHERE order_ref = %(ref)s AND position = 2"]),
    "a line removed": ("altered", ["DELETE FROM order_line WHERE order_ref = %(ref)s AND position = 2"]),
    "the totals": ("altered", ["UPDATE orders SET net = net - 1, gross = gross - 1 WHERE id = %(ref)s"]),
    "the address": (
        "altered",
        ["""UPDATE orders SET agreed = jsonb_set(agreed, '{ship_to,street}', '"Holzweg 1"') WHERE id = %(ref)s"""],
    ),
    "a status": ("altered", ["UPDATE orders SET status = 'cancelled' WHERE id = %(ref)s"]),
    "the key": ("altered", ["UPDATE orders SET idempotency_key = 'another' WHERE id = %(ref)s"]),
    "an event edited": ("altered", ["UPDATE order_event SET actor = 'nobody' WHERE order_ref = %(ref)s"]),
    "an event removed": ("altered", ["DELETE FROM order_event WHERE order_ref = %(ref)s"]),
    "its parties made a list": ("altered", ["UPDATE orders SET agreed = '[]' WHERE id = %(ref)s"]),
    "its parties made a number": ("altered", ["UPDATE orders SET agreed = '7' WHERE id = %(ref)s"]),
    "its parties without bottom": (
        "altered",
        ["UPDATE orders SET agreed = (repeat('[', 3000) || repeat(']', 3000))::jsonb WHERE id = %(ref)s"],
    ),
    "a rate that is no number": ("altered", ["UPDATE order_line SET tax_rate = 'NaN' WHERE order_ref = %(ref)s"]),
    "details made a list": ("altered", ["UPDATE order_event SET data = '[1]' WHERE order_ref = %(ref)s"]),
    "details made a word": ("altered", ["""UPDATE order_event SET data = '"x"' WHERE order_ref = %(ref)s"""]),
    "details without end": ("altered", ["UPDATE order_event SET data = '1e5000' WHERE order_ref = %(ref)s"]),
    "a conflict made up": (
        "altered",
        [
            "UPDATE orders SET idempotency_key = 'conflict ' || order_id WHERE id = %(ref)s",
            "UPDATE order_event SET type = 'order.conflict', data = '[]' WHERE order_ref = %(ref)s",
        ],
    ),
    "an agreement made up": (
        "altered",
        ["UPDATE order_event SET type = 'order.agreed_again', data = '[]' WHERE order_ref = %(ref)s"],
    ),
    "a moment without end": ("altered", ["UPDATE order_event SET at = 'infinity' WHERE order_ref = %(ref)s"]),
    "a moment before Christ": ("altered", ["UPDATE order_event SET at = '0044-03-15 BC' WHERE order_ref = %(ref)s"]),
    "the order and its event made to fit": (
        "altered",
        [
            "UPDATE orders SET content_hash = sha256('x') WHERE id = %(ref)s",
            "UPDATE order_event SET content_hash = sha256('x') WHERE order_ref = %(ref)s",
        ],
    ),
    "an order doubled": (
        "doubled",
        [
            f"INSERT INTO orders ({_COPY}, {_COPIED}) OVERRIDING SYSTEM VALUE SELECT nextval('orders_id_seq'),"
            " gen_random_uuid(), client_id, 'copy', request_hash, content_hash, status, version, path, accepted_at,"
            f" {_COPIED} FROM orders WHERE id = %(ref)s",
            "INSERT INTO order_line SELECT currval('orders_id_seq'), position, product_id, sku, name_de, name_en, unit,"
            " unit_decimals, quantity, unit_price, net, tax_class, tax_category, tax_rate, stock_policy, reserved,"
            " backordered, cancelled, note FROM order_line WHERE order_ref = %(ref)s",
            "INSERT INTO order_event SELECT currval('orders_id_seq'), version, type, actor, at, reason, data,"
            " content_hash, chain_hash FROM order_event WHERE order_ref = %(ref)s",
        ],
    ),
    "its lines doubled": (
        "doubled",
        [
            "INSERT INTO order_line SELECT order_ref, position + 2, product_id, sku, name_de, name_en, unit,"
            " unit_decimals, quantity, unit_price, net, tax_class, tax_category, tax_rate, stock_policy, reserved,"
            " backordered, cancelled, note FROM order_line WHERE order_ref = %(ref)s",
        ],
    ),
}


async def test_what_is_done_behind_its_back_is_found(database: TestDatabase, tmp_path: Path) -> None:
    """Orders that somebody removes, changes or doubles are found, as what they are, and no other ones."""
    async with running_shop(database, tmp_path, len(DAMAGE) + 3) as shop:
        expected = {}
        for (what, (kind, statements)), placement in zip(DAMAGE.items(), shop.placements, strict=False):
            shop.tamper(placement, *statements)
            expected[str(placement.order.order_id)] = (what, kind)
        original = next(of for of, (what, _) in expected.items() if what == "an order doubled")
        [[copy]] = query(database, "SELECT order_id FROM orders WHERE idempotency_key = 'copy'")
        expected[str(copy)] = expected.pop(original)

        def found(report: Report) -> set[tuple[str, str]]:
            return {(each.order_id, each.kind) for each in report.findings}

        wanted = {(order_id, kind) for order_id, (_, kind) in expected.items()}
        report = await until(shop.auditor, lambda report: found(report) >= wanted, f"{expected}", FOUND_WITHIN_S)
        assert {order_id for order_id, _ in found(report)} == set(expected)
        missing = [kind for _, kind in wanted].count("missing")
        assert (report.missing, report.unknown, report.damaged) == (missing, 0, 0)
        assert report.found <= len(shop.placements) - missing


async def test_a_promise_that_was_not_kept_is_found(database: TestDatabase, pool: Database, tmp_path: Path) -> None:
    """An order that was confirmed to its client, and is declined by its first event, is altered."""
    gone, there = stock_product(database, "gone", 0), stock_product(database, "there", 1)
    outcomes = await place(pool, [order("k1", (gone, 1)), order("k2", (there, 1))], Deadline.after(30))
    declined, confirmed = (outcome for outcome in outcomes if isinstance(outcome, Placement))
    assert (declined.promise, confirmed.promise) == ("declined", "confirmed")
    told = msgspec.structs.replace(receipt_for(declined), promise="confirmed")
    await write_receipts(tmp_path, [told, receipt_for(confirmed)])
    async with running_auditor(tmp_path, pool.beside(2)) as auditor:
        report = await until(auditor, lambda report: report.altered > 0, "altered")
        assert [finding.order_id for finding in report.findings] == [str(told.order_id)]


async def test_lawful_changes_are_no_damage(database: TestDatabase, tmp_path: Path) -> None:
    """Declined, backordered, supplied, cancelled in part and in whole: all as it should be."""
    few, late = stock_product(database, "few", 1), stock_product(database, "late", 0, "backorder")
    pool = pool_of(database)
    try:
        wanted = [order("declined", (few, 5)), order("late", (late, 4)), order("kept", (few, 1), (late, 1))]
        placements = [await place_one(pool, each) for each in wanted]
        assert [each.order.status for each in placements] == ["declined", "backordered", "backordered"]
        await write_receipts(tmp_path, [receipt_for(placement) for placement in placements])
        async with running_auditor(tmp_path, pool.beside(2)) as auditor:
            await until(auditor, lambda report: report.found == 3, "all found")
            async with pool.write(10) as counting:
                await put_many(counting, [Count("late", "4")], datetime.datetime.now(datetime.UTC))
            await confirm_backorders(pool, 10)
            await _cancel(pool, placements[2], CancelRequest(lines=(LineWish(2, "1"),)))
            await _cancel(pool, placements[1], CancelRequest(lines=(LineWish(1, "3"),)))
            await _cancel(pool, placements[2], CancelRequest())
            await _full_passes(auditor)
            report = auditor.report()
        statuses = query(database, "SELECT status FROM orders ORDER BY id")
        assert statuses == [("declined",), ("confirmed",), ("cancelled",)]
        assert report.well, report
        assert (report.acknowledged, report.found) == (3, 3)
    finally:
        await pool.close()


async def test_findings_stay_until_they_are_mended(database: TestDatabase, tmp_path: Path) -> None:
    """A cancelled line is not to be changed either. A finding outlives the auditor, which counts no receipt twice,
    and goes when a later look finds the order well."""
    async with running_shop(database, tmp_path) as shop:
        placement = shop.placements[1]
        await _cancel(shop.pool, placement, CancelRequest(lines=(LineWish(1, "2"),)))
        await _full_passes(shop.auditor)
        assert shop.auditor.report().well
        shop.tamper(placement, "UPDATE order_line SET unit_price = 1 WHERE order_ref = %(ref)s AND position = 1")
        await until(shop.auditor, lambda report: report.altered == 1, "the price of a cancelled line")
    pool = pool_of(database)
    try:
        async with running_auditor(tmp_path, pool.beside(2)) as again:
            report = again.report()
            assert (report.altered, report.acknowledged, report.found) == (1, 4, 4)
            shop.tamper(placement, "UPDATE order_line SET unit_price = 10 WHERE order_ref = %(ref)s AND position = 1")
            await until(again, lambda report: report.altered == 0, "the price put right")
            assert again.report().well
    finally:
        await pool.close()


async def test_while_the_database_is_away_nothing_is_known(
    disposable_postgres: PostgresCluster, tmp_path: Path
) -> None:
    """Receipts that cannot be looked up are unknown, neither found nor missing, and known again afterwards."""
    database = disposable_postgres.create_database()
    async with running_shop(database, tmp_path) as shop:
        with disposable_postgres.primary.paused():
            await write_receipts(tmp_path, [receipt_for(shop.placements[0])], "api-2")
            report = await until(shop.auditor, lambda report: report.unknown == 1, "unknown", 15)
            assert (report.missing, report.altered, report.doubled) == (0, 0, 0)
            assert report.acknowledged == report.found + 1
        report = await until(shop.auditor, lambda report: report.unknown == 0, "known again", 30)
        assert report.well
        assert report.found == 5


async def test_one_auditor_looks_at_the_orders(
    database: TestDatabase, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of two auditors one goes over all orders, and the other one takes that over when the first ends."""
    elsewhere, pool = tmp_path_factory.mktemp("n2"), pool_of(database)
    try:
        async with running_auditor(elsewhere, pool.beside(2)) as other:
            await until(other, lambda report: report.orders_pass_age_s is not None, "the duty taken")
            async with running_auditor(tmp_path, pool.beside(2)) as auditor:
                await asyncio.sleep(4)  # more than one try
                assert auditor.report().orders_pass_age_s is None
                assert other.report().orders_pass_age_s is not None
                with database.cluster.admin() as connection:
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                    )
                reports = auditor.report, other.report
                await until(auditor, lambda _: any(each().orders_pass_age_s is not None for each in reports), "taken")
    finally:
        await pool.close()


async def _full_passes(auditor: Auditor) -> None:
    """Waits until everything was looked at from its beginning to its end after this call."""
    for _ in range(2):
        since = time.time()

        def passed(report: Report, since: float = since) -> bool:
            ages = (report.receipts_pass_age_s, report.orders_pass_age_s)
            return all(age is not None and time.time() - age > since for age in ages)

        await until(auditor, passed, "a full pass")


async def _cancel(pool: Database, placement: Placement, request: CancelRequest) -> None:
    command = CancelCommand(
        client_id=CLIENT,
        idempotency_key=str(uuid4()),
        order_id=placement.order.order_id,
        body=None,
        request=request,
        any_order=True,
        at=datetime.datetime.now(datetime.UTC),
    )
    async with pool.write(5) as connection:
        await cancel(connection, command)
