"""The audit with a real journal: orders on their way to the database are neither missing nor altered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import msgspec
import pytest_asyncio

from standfest.clients.etcd_errors import EtcdOutcomeUnknown, EtcdUnavailable
from standfest.clients.etcd_kv import Delete, EtcdStore, Txn
from standfest.domain.orders import Order, content_hash, line_net, totals
from standfest.domain.products import Product
from standfest.intake.audit.entries import JournalEntries
from standfest.intake.audit.model import Entry
from standfest.intake.drain import Drainer
from standfest.intake.journal import Journal
from standfest.intake.receipts import Receipt, receipt_of
from standfest.storage.database import Database
from tests.integration.orders import order, place_one, pool_of, query, stock_product
from tests.support.api import shared_journal
from tests.support.audit import receipt_for, running_auditor, until, write_receipts
from tests.support.etcd import EtcdCluster
from tests.support.postgres import PostgresCluster, TestDatabase


@dataclass(frozen=True)
class Paths:
    """Both ways of an order, and what is sold."""

    etcd: EtcdCluster
    store: EtcdStore
    journal: Journal
    pool: Database
    apple: Product

    async def accept(self, wanted: Order) -> Order:
        """The order as the journal has it."""
        entry = msgspec.structs.replace(wanted, status="accepted", path="journal")
        await self.journal.accept([entry], 5)
        return entry

    async def drain(self) -> None:
        """Empties the journal into the database."""
        drainer = Drainer(self.pool, self.journal)
        while await drainer.round():
            pass


@pytest_asyncio.fixture
async def paths(database: TestDatabase) -> AsyncIterator[Paths]:
    """A database, and a journal without the orders of earlier tests."""
    etcd, pool = shared_journal(), pool_of(database)
    async with etcd.session() as session:
        store = EtcdStore(session, etcd.addresses, etcd.tls())
        await _empty(store)
        yield Paths(etcd, store, Journal(store, 2**29), pool, stock_product(database, "apple", 100))
    await pool.close()


async def _empty(store: EtcdStore) -> None:
    """Takes away what earlier tests left in the journal that all share."""
    await store.txn(Txn((), (Delete(b"standfest/", b"standfest0"),)), 5)


def accepted(entry: Order) -> Receipt:
    """What the client of an accepted order was given."""
    return receipt_of(entry, entry.content_hash, "accepted")


async def test_an_order_is_found_in_the_journal_and_then_in_the_database(paths: Paths, tmp_path: Path) -> None:
    """An accepted order waits, is found when it is drained, and is never missing in between."""
    entries = [await paths.accept(order(f"k{number}", (paths.apple, 1))) for number in range(60)]
    await write_receipts(tmp_path, [accepted(entry) for entry in entries])
    async with running_auditor(tmp_path, paths.pool.beside(2), JournalEntries(paths.journal)) as auditor:
        report = await until(auditor, lambda report: report.waiting == 60, "waiting")
        assert (report.found, report.unknown, report.well) == (60, 0, True)
        await paths.drain()
        report = await until(auditor, lambda report: report.found == 60 and not report.waiting, "drained")
        assert report.well


async def test_an_order_that_leaves_the_journal_for_nowhere_is_missing(
    database: TestDatabase, paths: Paths, tmp_path: Path
) -> None:
    """What somebody deletes from the journal is found to be missing, and so is one that is changed there altered."""
    gone = await paths.accept(order("gone", (paths.apple, 1)))
    other = await paths.accept(order("other", (paths.apple, 2)))
    receipts = [accepted(gone), receipt_of(other, bytes(32), "accepted")]
    await write_receipts(tmp_path, receipts)
    async with running_auditor(tmp_path, paths.pool.beside(2), JournalEntries(paths.journal)) as auditor:
        await until(auditor, lambda report: report.altered == 1, "another agreement in the journal")
        await paths.store.txn(Txn((), (Delete(f"standfest/o/{gone.order_id}".encode()),)), 5)
        report = await until(auditor, lambda report: report.missing == 1, "missing")
        assert {each.order_id for each in report.findings} == {str(gone.order_id), str(other.order_id)}
    assert query(database, "SELECT count(*) FROM orders") == [(0,)]


async def test_an_order_agreed_on_both_paths_is_well(paths: Paths, tmp_path: Path) -> None:
    """One request that each path priced for itself bears both receipts out, before it is drained and afterwards."""
    direct = await place_one(paths.pool, order("twice", (paths.apple, 3)))
    cheaper = await paths.accept(_at_price(order("twice", (paths.apple, 3)), Decimal("9.0000")))
    assert cheaper.order_id == direct.order.order_id
    await write_receipts(tmp_path, [receipt_for(direct), accepted(cheaper)])
    async with running_auditor(tmp_path, paths.pool.beside(2), JournalEntries(paths.journal)) as auditor:
        report = await until(auditor, lambda report: report.waiting == 1 and report.found == 2, "both")
        assert report.well
        await paths.drain()
        report = await until(auditor, lambda report: report.found == 2 and not report.waiting, "drained")
        assert report.well


async def test_without_the_journal_what_is_not_in_the_database_is_unknown(paths: Paths, tmp_path: Path) -> None:
    """While no journal member answers an accepted order is unknown; what the database has is found."""
    direct = await place_one(paths.pool, order("direct", (paths.apple, 1)))
    entry = await paths.accept(order("accepted", (paths.apple, 1)))
    receipts = [receipt_for(direct), accepted(entry)]
    frozen = paths.etcd.followers()
    for member in frozen:
        member.pause()
    try:
        await write_receipts(tmp_path, receipts)
        async with running_auditor(tmp_path, paths.pool.beside(2), JournalEntries(paths.journal)) as auditor:
            report = await until(auditor, lambda report: report.acknowledged == 2, "read")
            assert (report.found, report.unknown, report.missing) == (1, 1, 0)
            for member in frozen:
                member.resume()
            paths.etcd.wait_until_well()
            await until(auditor, lambda report: report.found == 2 and not report.unknown, "known again")
    finally:
        for member in frozen:
            member.resume()
        paths.etcd.wait_until_well()


def _at_price(wanted: Order, price: Decimal) -> Order:
    lines = tuple(
        msgspec.structs.replace(line, unit_price=price, net=line_net(line.open, line.unit_decimals, price))
        for line in wanted.lines
    )
    sums = totals(lines)
    hashed = content_hash(wanted.currency, wanted.agreed, lines, sums)
    return msgspec.structs.replace(wanted, lines=lines, totals=sums, content_hash=hashed)


async def test_a_look_at_many_large_orders_is_read_in_parts(paths: Paths) -> None:
    """Orders that are too much for one answer of etcd are found all the same, at a glance and for certain."""
    note = "x" * 500
    small = order("small", (paths.apple, 1))
    lines = tuple(msgspec.structs.replace(small.lines[0], position=at, note=note) for at in range(1, 1_001))
    large = [msgspec.structs.replace(order(f"k{number}", (paths.apple, 1)), lines=lines) for number in range(24)]
    for wanted in large:
        await paths.accept(wanted)
    ids, entries = [wanted.order_id for wanted in large], JournalEntries(paths.journal)
    assert set(await _looked(entries.glance_many, ids)) == set(ids)
    assert set(await _looked(entries.find_many, ids)) == set(ids)


async def _looked(look: Callable[[Sequence[UUID]], Awaitable[dict[UUID, Entry]]], ids: list[UUID]) -> dict[UUID, Entry]:
    """What a look finds, taken again as the audit does where it took too long; TimeoutError after a minute."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(EtcdUnavailable, EtcdOutcomeUnknown):
                return await look(ids)


async def test_while_the_database_is_away_orders_in_the_journal_are_looked_at_once(
    disposable_postgres: PostgresCluster, tmp_path: Path
) -> None:
    """They wait all the while, whatever becomes of the journal, and are found once the database is back."""
    database, etcd = disposable_postgres.create_database(), shared_journal()
    pool = pool_of(database)
    async with etcd.session() as session:
        store = EtcdStore(session, etcd.addresses, etcd.tls())
        await _empty(store)
        paths = Paths(etcd, store, Journal(store, 2**29), pool, stock_product(database, "apple", 100))
        direct = await place_one(pool, order("direct", (paths.apple, 1)))
        entries = [await paths.accept(order(f"k{number}", (paths.apple, 1))) for number in range(60)]
        journal = _Counted(JournalEntries(paths.journal))
        async with running_auditor(tmp_path, pool.beside(2), journal) as auditor:
            with disposable_postgres.primary.paused():
                await write_receipts(tmp_path, [receipt_for(direct)])
                await until(auditor, lambda report: report.unknown == 1, "the database is known to be away")
                before = journal.orders
                await write_receipts(tmp_path, [accepted(entry) for entry in entries], "api-2")
                report = await until(auditor, lambda report: report.waiting == 60, "waiting")
                assert (report.found, report.unknown, report.missing) == (60, 1, 0)
                await asyncio.sleep(5)  # more than one probe, and more than one look again
                assert journal.orders == before + 60
            await paths.drain()
            report = await until(auditor, lambda report: report.found == 61 and not report.waiting, "all found")
            assert report.well
    await pool.close()


class _Counted:
    """A journal that counts the orders it is asked for."""

    def __init__(self, journal: JournalEntries) -> None:
        self._journal = journal
        self.orders = 0

    async def glance_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        self.orders += len(order_ids)
        return await self._journal.glance_many(order_ids)

    async def find_many(self, order_ids: Sequence[UUID]) -> dict[UUID, Entry]:
        self.orders += len(order_ids)
        return await self._journal.find_many(order_ids)
