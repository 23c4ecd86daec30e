"""Draining against a real PostgreSQL and etcd: one entry stops no other, and a schema that fits no order stops all."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest

from standfest.clients.etcd_kv import Delete, EtcdStore, Put, Txn
from standfest.domain.orders import Order
from standfest.intake.demand import Demand
from standfest.intake.direct import place
from standfest.intake.drain import Drainer, OrdersRefused
from standfest.intake.entries import encode_entry
from standfest.intake.figures import DrainFigures
from standfest.intake.journal import Journal
from standfest.intake.left_aside import ALONE_MAX
from standfest.intake.locks import LOCK_WAIT_MS
from standfest.intake.paths import Path
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable, StatementFailed
from tests.integration.journal_path import accept, drain, kept, running, stored
from tests.integration.orders import order, query, stock_product
from tests.support.postgres import TestDatabase
from tests.support.unwritable import KINDS, MARK, Kind, fill, refuse_marked_orders


async def until_drained(drainer: Drainer, journal: Journal) -> None:
    """Drains in the drainer's own loop until nothing waits."""
    stop = asyncio.Event()
    draining = asyncio.create_task(drainer.run(stop))
    try:
        async with asyncio.timeout(60):
            while await journal.count(5):  # noqa: ASYNC110 - it is polled on purpose
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await draining


def owner(database: TestDatabase) -> psycopg.Connection[tuple[object, ...]]:
    """The schema's owner, in autocommit mode."""
    return psycopg.connect(database.dsn("standfest_owner"), autocommit=True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_an_entry_that_cannot_be_written_is_set_apart_and_stops_no_other(
    database: TestDatabase,
    pool: Database,
    store: EtcdStore,
    journal: Journal,
    kind: Kind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the error is, the others are drained, and the one is kept with its reason and counted."""
    monkeypatch.setattr("standfest.intake.left_aside.ALONE_S", 0.1)
    pear = stock_product(database, "pear", 1000)
    refuse_marked_orders(database.dsn("standfest_owner"))
    orders = [order(f"k{number}", (pear, 1)) for number in range(9)]
    spoilt = await fill(store, journal, orders, [kind])
    drainer = Drainer(pool, journal)
    await until_drained(drainer, journal)
    assert (drainer.drained, drainer.set_apart, await journal.quarantined(5)) == (8, 1, 1)
    written = {str(order_id) for (order_id,) in query(database, "SELECT order_id FROM orders")}
    assert written == {str(each.order_id) for each in orders} - spoilt


async def test_all_kinds_at_once_stop_nobody(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two hundred entries two of each kind are set apart, the others drained, and the metrics say so."""
    monkeypatch.setattr("standfest.intake.left_aside.ALONE_S", 0.1)
    bad = 2 * len(KINDS)
    pear = stock_product(database, "pear", 1000)
    refuse_marked_orders(database.dsn("standfest_owner"))
    await fill(store, journal, [order(f"k{number}", (pear, 1)) for number in range(200)], KINDS * 2)
    drainer = Drainer(pool, journal)
    await until_drained(drainer, journal)
    assert (drainer.drained, drainer.set_apart, drainer.refused, drainer.left) == (200 - bad, bad, False, 0)
    samples = {sample.name: sample.value for metric in DrainFigures(drainer).collect() for sample in metric.samples}
    assert samples["standfest_journal_quarantined_total"] == bad


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("ALTER TABLE orders RENAME COLUMN agreed TO agreed_2", "ALTER TABLE orders RENAME COLUMN agreed_2 TO agreed"),
        ("REVOKE INSERT ON order_line FROM standfest_app", "GRANT INSERT ON order_line TO standfest_app"),
    ],
    ids=["a column that is not there", "a privilege that is missing"],
)
async def test_a_schema_that_fits_no_order_quarantines_nothing(
    database: TestDatabase, pool: Database, journal: Journal, broken: str, mended: str
) -> None:
    """What a synthetic order meets as well is no entry's own fault: drainers wait, say so, and go on afterwards."""
    pear = stock_product(database, "pear", 1000)
    await accept(journal, *(order(f"k{number}", (pear, 1)) for number in range(5)))
    with owner(database) as connection:
        connection.execute(broken.encode())
        drainer = Drainer(pool, journal)
        with pytest.raises(OrdersRefused):
            await drainer.round()
        stop = asyncio.Event()
        draining = asyncio.create_task(drainer.run(stop))
        async with asyncio.timeout(60):
            while not drainer.refused:  # noqa: ASYNC110 - it is polled on purpose, as metrics are
                await asyncio.sleep(0.02)
        assert (drainer.set_apart, await journal.count(5)) == (0, 5)
        connection.execute(mended.encode())
        async with asyncio.timeout(60):
            while await journal.count(5):  # noqa: ASYNC110 - it is polled on purpose
                await asyncio.sleep(0.02)
        stop.set()
        await draining
    assert (drainer.drained, drainer.set_apart, drainer.refused) == (5, 0, False)


async def test_entries_that_fail_alike_one_after_the_other_are_not_all_set_apart(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no order is written in between, it is hardly each entry's own fault: the rest stays, behind the others."""
    monkeypatch.setattr("standfest.intake.drain.ALIKE_MAX", 3)
    pear = stock_product(database, "pear", 1000)
    refuse_marked_orders(database.dsn("standfest_owner"))
    orders = [order(f"k{number}", (pear, 1)) for number in range(8)]
    await fill(store, journal, orders, [KINDS[0]] * 8)
    drainer = Drainer(pool, journal)
    await drainer.round()
    await drainer.round()
    assert (drainer.set_apart, drainer.left, await journal.count(5)) == (3, 5, 5)
    await accept(journal, order("good", (pear, 1)))
    while drainer.left:
        await accept(journal, order(f"good {drainer.set_apart}", (pear, 1)))
        await drainer.round()
    assert drainer.set_apart == 8


async def test_an_entry_that_failed_alone_is_never_tried_in_company_again(
    database: TestDatabase, pool: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that ends before its turn leaves it what it is: it is tried by itself, and the others behind it."""
    pear = stock_product(database, "pear", 10)
    orders = [order(f"k{number}", (pear, 1)) for number in range(3)]
    pool = pool.beside(4, lock_timeout_ms=LOCK_WAIT_MS)
    drainer = Drainer(pool, journal)
    with psycopg.connect(database.dsn("standfest_owner")) as holder:
        holder.execute("SELECT FROM stock WHERE product_id = %s FOR UPDATE", (pear.id,))
        await accept(journal, orders[0])
        await drainer.round()
        await accept(journal, *orders[1:])
        with monkeypatch.context() as brief:
            brief.setattr("standfest.intake.drain.ROUND_S", 0.0)
            await drainer.round()
    tried: list[int] = []

    async def placed(*arguments: Any) -> Any:
        tried.append(len(arguments[1]))
        return await place(*arguments)

    monkeypatch.setattr("standfest.intake.drain.place", placed)
    await drainer.round()
    await pool.close()
    assert (tried, drainer.drained) == ([1, 2], 3)


async def test_what_a_lock_holds_up_stays_in_its_order_and_holds_up_no_other_goods(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """While one product's stock is locked the orders of others are drained; its own follow, the oldest first."""
    pear, plum = stock_product(database, "pear", 2), stock_product(database, "plum", 1000)
    pears = [order(f"pear {number}", (pear, 1)) for number in range(4)]
    plums = [order(f"plum {number}", (plum, 1)) for number in range(4)]
    await accept(journal, *(each for pair in zip(pears, plums, strict=True) for each in pair))
    drainer = Drainer(pool, journal)
    with psycopg.connect(database.dsn("standfest_owner")) as holder:
        holder.execute("SELECT FROM stock WHERE product_id = %s FOR UPDATE", (pear.id,))
        async with asyncio.timeout(60):
            while drainer.drained < 4:
                await drainer.round()
        assert drainer.left == 4
        holder.rollback()
    await until_drained(drainer, journal)
    assert (drainer.drained, drainer.set_apart) == (8, 0)
    assert [(await stored(pool, each.order_id)).status for each in pears] == ["confirmed"] * 2 + ["declined"] * 2


async def test_a_progress_that_cannot_be_read_stops_nothing(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal
) -> None:
    """What somebody put there by hand, or a later release, is said anew by the next round."""
    pear = stock_product(database, "pear", 10)
    await store.txn(Txn((), (Put(b"standfest/progress", b"drained"),)), 5)
    await accept(journal, order("k", (pear, 1)))
    assert (await journal.backlog(5)).drained_revision is None
    drainer = Drainer(pool, journal)
    await drainer.round()
    assert drainer.drained == 1
    assert (await journal.backlog(5)).drained_revision is not None


async def test_a_look_reads_no_more_than_its_bound(
    database: TestDatabase, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries beyond the bytes that a look decodes count as not read: they may want anything."""
    pear = stock_product(database, "pear", 10)
    await accept(journal, *(order(f"k{number}", (pear, 1)) for number in range(4)))
    monkeypatch.setattr("standfest.intake.journal.LOOK_BYTES_MAX", len(encode_entry(order("k0", (pear, 1)))) + 100)
    assert (await journal.backlog(5)).demand == Demand({pear.id: 1}, unread=3)


async def test_a_key_that_names_no_order_stops_nothing(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal
) -> None:
    """A key that somebody put among the entries by hand is left, and the entries are drained."""
    pear = stock_product(database, "pear", 10)
    await store.txn(Txn((), (Put(b"standfest/o/by-hand", b"{}"),)), 5)
    await accept(journal, order("k", (pear, 1)))
    drainer = Drainer(pool, journal)
    await drainer.round()
    assert (drainer.drained, await journal.count(5)) == (1, 1)
    await store.txn(Txn((), (Delete(b"standfest/o/by-hand"),)), 5)


async def test_an_entry_whose_moment_or_key_cannot_be_used_is_set_apart(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal
) -> None:
    """A moment without a time zone and a key that is not ASCII would end a round as it sorts and removes."""
    pear = stock_product(database, "pear", 10)
    naive = kept(order("naive", (pear, 1)))
    naive["order"]["accepted_at"] = "2026-01-01T00:00:00"
    foreign = kept(order("foreign", (pear, 1)))
    foreign["order"]["idempotency_key"] = "schlüssel"
    entries = {entry["order"]["order_id"]: msgspec.json.encode(entry) for entry in (naive, foreign)}
    good = msgspec.structs.replace(order("good", (pear, 1)), status="accepted", path="journal")
    entries[str(good.order_id)] = encode_entry(good)
    puts = tuple(Put(f"standfest/o/{order_id}".encode(), entry) for order_id, entry in entries.items())
    await store.txn(Txn((), puts), 5)
    drainer = await drain(pool, journal)
    assert (drainer.drained, drainer.set_apart, await journal.count(5)) == (1, 2, 0)


async def newer(store: EtcdStore, journal: Journal, wanted: list[Order]) -> None:
    """Puts entries that only a later release reads."""
    for each in wanted:
        entry = kept(each) | {"format": 2, "readable_by": 2}
        await store.txn(Txn((), (Put(f"standfest/o/{each.order_id}".encode(), msgspec.json.encode(entry)),)), 5)


async def remove(store: EtcdStore, order_ids: list[UUID]) -> None:
    """Removes entries, as another release's drainer does."""
    await store.txn(Txn((), tuple(Delete(f"standfest/o/{each}".encode()) for each in order_ids)), 5)


@pytest.mark.parametrize("waiting", [4, 6], ids=["fewer than are remembered", "as many as are remembered"])
async def test_entries_of_a_later_release_that_were_drained_elsewhere_hide_nothing(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal, waiting: int
) -> None:
    """What a drainer remembers of entries that are gone does not count against those that wait now."""
    pear = stock_product(database, "pear", 50)
    foreign = [order(f"newer {number}", (pear, 1)) for number in range(6)]
    await newer(store, journal, foreign)
    drainer = Drainer(pool, journal)
    await drainer.round()
    await remove(store, [each.order_id for each in foreign])
    await accept(journal, *(order(f"k{number}", (pear, 1)) for number in range(waiting)))
    await drainer.round()
    assert (drainer.drained, await journal.count(5)) == (waiting, 0)


async def test_locks_are_waited_for_however_often_an_entry_meets_them(
    database: TestDatabase, pool: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who holds the stock of an order says nothing about the order: it is left each time, and drained at last."""
    monkeypatch.setattr("standfest.intake.left_aside.ALONE_S", 0.0)
    pear = stock_product(database, "pear", 10)
    await accept(journal, order("k", (pear, 1)))
    pool = pool.beside(4, lock_timeout_ms=LOCK_WAIT_MS)
    drainer = Drainer(pool, journal)
    with psycopg.connect(database.dsn("standfest_owner")) as holder:
        holder.execute("SELECT FROM stock WHERE product_id = %s FOR UPDATE", (pear.id,))
        for _ in range(ALONE_MAX + 2):
            await drainer.round()
        assert (drainer.left, drainer.set_apart) == (1, 0)
    await drainer.round()
    await pool.close()
    assert (drainer.drained, drainer.set_apart) == (1, 0)


@pytest.mark.parametrize("sqlstate", ["XX001", "53200", "08P01"])
async def test_an_order_that_the_database_cannot_write_turns_no_other_to_the_journal(
    database: TestDatabase, pool: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch, sqlstate: str
) -> None:
    """On the direct path an order, in company and alone, meets its damaged page, or is too much for the server; it is
    accepted by the journal, the others confirmed."""
    monkeypatch.setattr("standfest.intake.left_aside.ALONE_S", 0.0)
    pear = stock_product(database, "pear", 10_000)
    refuse_marked_orders(database.dsn("standfest_owner"))
    wanted = [order(f"k{number}", (pear, 1)) for number in range(20)]
    marked = msgspec.structs.replace(order("marked", (pear, 1)), external_reference=f"{MARK} {sqlstate}")
    async with running(pool, journal) as intake:
        placed = await asyncio.gather(*(intake.place(each) for each in (*wanted[:10], marked, *wanted[10:])))
        assert [each.promise for each in placed] == ["confirmed"] * 10 + ["accepted"] + ["confirmed"] * 10
        assert (await intake.place(marked)).promise == "accepted"
        assert (await intake.place(order("good", (pear, 1)))).promise == "confirmed"
        assert (intake.path, intake.turns) == (Path.DIRECT, 0)
    drainer = Drainer(pool, journal)
    await until_drained(drainer, journal)
    assert (drainer.drained, drainer.set_apart) == (0, 1)
    assert list(await journal.find([marked.order_id], 5)) == [marked.order_id]


async def test_a_database_that_refuses_every_order_turns_all_to_the_journal(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """With a column missing no order fails: they are accepted by the journal until the schema fits, then confirmed."""
    pear = stock_product(database, "pear", 10_000)
    async with running(pool, journal) as intake:
        with owner(database) as connection:
            connection.execute("ALTER TABLE orders RENAME COLUMN agreed TO agreed_2")
            placed = await asyncio.gather(*(intake.place(order(f"k{number}", (pear, 1))) for number in range(20)))
            assert {each.promise for each in placed} == {"accepted"}
            assert (intake.path, intake.database_away) == (Path.JOURNAL, True)
            connection.execute("ALTER TABLE orders RENAME COLUMN agreed_2 TO agreed")
        await until_drained(Drainer(pool, journal), journal)
        end = time.monotonic() + 60
        while (await intake.place(order(f"again {time.monotonic()}", (pear, 1)))).promise != "confirmed":
            assert time.monotonic() < end
            await drain(pool, journal)


async def test_a_statement_that_fails_by_itself_does_not_say_that_the_database_is_away(
    database: TestDatabase, pool: Database
) -> None:
    """It is told apart by its own class, with its SQLSTATE; the primary is not looked for anew."""
    with pytest.raises(StatementFailed) as failed:
        async with pool.read(5) as connection:
            await connection.execute("SELECT no_such_column FROM orders")
    assert failed.value.sqlstate == "42703"
    assert isinstance(failed.value, DatabaseUnavailable)  # nothing was changed, as whoever catches that relies on
    assert pool.primary is not None
    assert query(database, "SELECT 1") == [(1,)]
