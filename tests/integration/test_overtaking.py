"""Nobody takes goods from those who were there first: orders in the journal, and orders that wait for goods."""

from __future__ import annotations

import asyncio
import contextlib
import datetime

import msgspec
import psycopg
import pytest

from standfest.catalogue import stock
from standfest.catalogue.stock import Count
from standfest.clients.etcd_kv import EtcdStore
from standfest.domain.cancellation import CancelRequest
from standfest.domain.orders import Order
from standfest.domain.synthetic import synthetic_order
from standfest.intake import paths
from standfest.intake.backlog_age import BacklogAge
from standfest.intake.demand import Demand
from standfest.intake.direct import Earlier, Placement, place_behind
from standfest.intake.drain import Drainer
from standfest.intake.errors import KeyReused
from standfest.intake.intake import Intake
from standfest.intake.journal import Backlog, Journal
from standfest.intake.locks import LOCK_WAIT_MS
from standfest.intake.paths import BACKLOG_AGE_MAX_S, LOOK_DIRECT_S, Path
from standfest.sales.backorders import confirm_backorders
from standfest.sales.cancel import CancelCommand, cancel
from standfest.storage.database import Database
from standfest.storage.deadline import Deadline
from tests.integration.journal_path import accept, drain, eventually, eventually_direct, running, stored
from tests.integration.orders import CLIENT, order, place_one, query, stock_product
from tests.support.etcd import EtcdCluster
from tests.support.postgres import TestDatabase

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


async def count(pool: Database, sku: str, on_hand: int) -> None:
    """Puts one stock count."""
    async with pool.write(5) as connection:
        await stock.put_many(connection, [Count(sku, str(on_hand))], NOW)


async def has_looked(intake: Intake) -> None:
    """Waits until the process has seen that nothing waits: what comes later is young."""
    await eventually(lambda: intake._way.backlog._tells)


async def test_the_last_pieces_go_to_those_who_were_accepted_first(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Of five pieces five orders that another process accepted get one each, newer ones on the direct path none."""
    pear = stock_product(database, "pear", 5)
    first = [order(f"first {number}", (pear, 1)) for number in range(5)]
    newer = [order(f"newer {number}", (pear, 1)) for number in range(4)]
    async with running(pool, journal) as intake:
        await has_looked(intake)
        await accept(journal, *first)  # as another process does, whose way to the database is cut
        placed = [await intake.place(each) for each in newer]
        assert {each.promise for each in placed} == {"accepted"}
        await drain(pool, journal)
        await eventually_direct(intake)
        states = [(await stored(pool, each.order_id)).status for each in (*first, *newer)]
        assert states == ["confirmed"] * 5 + ["declined"] * 4
        assert (await intake.place(order("last", (pear, 1)))).order.status == "declined"


async def test_goods_that_nobody_waits_for_are_placed_directly(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Orders of other products, and of what is left beside those who wait, are confirmed or declined at once."""
    pear, plum = stock_product(database, "pear", 30), stock_product(database, "plum", 1)
    async with running(pool, journal) as intake:
        await has_looked(intake)
        await accept(journal, order("waits", (pear, 20)))
        outcomes = await asyncio.gather(
            intake.place(order("plum", (plum, 1))),
            intake.place(order("beside", (pear, 10))),
            intake.place(order("behind", (pear, 11))),
            intake.place(order("no plum", (plum, 2))),
        )
    assert [each.promise for each in outcomes] == ["confirmed", "confirmed", "accepted", "declined"]


async def test_who_gets_nothing_of_what_is_there_asks_for_nobody(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Orders of goods that are sold out are declined without a question to the journal; who takes the last, asks."""
    asked: list[int] = []

    async def ask() -> Demand:
        asked.append(1)
        return Demand()

    pear, plum = stock_product(database, "pear", 1), stock_product(database, "plum", 1_000)
    earlier, deadline = Earlier(Demand(), ask), Deadline.after(60)

    async def promised(*orders: Order) -> tuple[list[str], int]:
        asked.clear()
        placed = await place_behind(pool, orders, deadline, None, earlier)
        return [each.promise for each in placed if isinstance(each, Placement)], len(asked)

    assert await promised(order("sold out", (pear, 2)), order("plum", (plum, 1))) == (["declined", "confirmed"], 0)
    assert await promised(order("too much", (pear, 2)), order("last", (pear, 1))) == (["declined", "confirmed"], 1)
    assert await promised(order("none left", (plum, 1), (pear, 1))) == (["declined"], 0)
    wait = stock_product(database, "wait", 0, "backorder")
    assert await promised(order("queues", (wait, 1))) == (["backordered"], 1)


async def test_a_backordered_newcomer_waits_behind_those_who_were_accepted_first(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Who would have to wait for goods that accepted orders want stands in the queue for them behind these."""
    pear = stock_product(database, "pear", 1, "backorder")
    first, newer = order("first", (pear, 3)), order("newer", (pear, 2))
    async with running(pool, journal) as intake:
        await has_looked(intake)
        await accept(journal, first)
        assert (await intake.place(newer)).promise == "accepted"
        await drain(pool, journal)
    await count(pool, "pear", 3)
    await confirm_backorders(pool)
    states = [(await stored(pool, each.order_id)).status for each in (first, newer)]
    assert states == ["confirmed", "backordered"]


async def test_a_process_that_never_left_goes_behind_an_old_backlog(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """It leaves the direct path once orders of others have waited for the bound, and comes back after the drain.

    The database is not called away meanwhile: what needs it is done.
    """
    pear = stock_product(database, "pear", 1000)
    async with running(pool, journal) as intake:
        await has_looked(intake)
        await accept(journal, order("first", (pear, 1)))
        await eventually(lambda: intake.path is Path.JOURNAL)
        assert not intake.database_away
        assert (await intake.place(order("second", (pear, 1)))).promise == "accepted"
        assert intake.turns == 1
        await drain(pool, journal)
        await eventually_direct(intake)
        assert (await intake.place(order("third", (pear, 1)))).promise == "confirmed"
    keys = [key for (key,) in query(database, "SELECT idempotency_key FROM orders ORDER BY id")]
    assert keys == ["first", "second", "third"]


async def test_synthetic_orders_that_wait_send_nobody_to_the_journal(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Where drainers are slow and only synthetic orders wait, nobody is overtaken who minds."""
    pear = stock_product(database, "pear", 1000)
    await accept(journal, synthetic_order(NOW, "EUR"))
    async with running(pool, journal) as intake:
        await has_looked(intake)
        await asyncio.sleep(BACKLOG_AGE_MAX_S + 2 * LOOK_DIRECT_S)  # not a wait for something: it would be old by then
        assert intake.turns == 0
        assert (await intake.place(order("k", (pear, 1)))).promise == "confirmed"


async def test_the_direct_path_is_kept_where_the_journal_does_not_tell(
    database: TestDatabase, etcd: EtcdCluster, pool: Database, journal: Journal
) -> None:
    """With the journal away nobody is held up, also where goods are scarce."""
    pear = stock_product(database, "pear", 2)
    async with running(pool, journal) as intake:
        with contextlib.ExitStack() as stack:
            for member in etcd.followers():
                stack.enter_context(member.paused())
            placed = [await intake.place(order(f"k{number}", (pear, 1))) for number in range(3)]
        await asyncio.to_thread(etcd.wait_until_well)
    assert [each.promise for each in placed] == ["confirmed", "confirmed", "declined"]


async def test_a_clock_that_is_ahead_keeps_nobody_on_the_journal(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal
) -> None:
    """Orders drained by a node whose clock is an hour ahead do not make the backlog old for others."""
    pear = stock_product(database, "pear", 1000)
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)

    def dated(key: str) -> object:
        return msgspec.structs.replace(order(key, (pear, 1)), accepted_at=ahead)

    async with running(pool, journal) as intake:
        with database.standby.paused():
            assert (await intake.place(order("turn", (pear, 1)))).promise == "accepted"
        stop = asyncio.Event()

        async def others() -> None:
            """One entry waits at any time, and none for long: as where other processes use the journal."""
            number = 0
            await accept(journal, dated("ahead"))  # type: ignore[arg-type]
            while not stop.is_set():
                number += 1
                await accept(journal, dated(f"ahead {number}"))  # type: ignore[arg-type]
                names = await journal.waiting(1000, 5)
                entries = await journal.read(names[:-1], 5)
                if entries:
                    await journal.remove([(entry, dated(f"ahead {number}")) for entry in entries], 5)  # type: ignore[misc]
                await asyncio.sleep(0.05)

        task = asyncio.create_task(others())
        try:
            await eventually_direct(intake)
        finally:
            stop.set()
            await task


def looked(count: int, revision: int, drained: int | None, aside: int = 0) -> Backlog:
    """What a look at the journal shows."""
    return Backlog(count, None, revision, drained, aside=aside)


def test_the_backlogs_age_is_counted_from_the_last_look_that_did_not_show_it() -> None:
    """Whatever clocks say, an entry is younger than the last look at a revision that is drained."""
    ages = BacklogAge()
    assert ages.learn(looked(1, 10, 5), 0.0, 0.0) == float("inf")  # since when it waits is not known
    assert ages.learn(looked(0, 12, 5), 1.0, 1.0) == 0.0
    assert ages.learn(looked(1, 13, 5), 2.0, 2.1) == 1.1  # created after the look at 12, asked for at 1.0
    assert ages.learn(looked(1, 14, 5), 3.0, 3.0) == 2.0
    assert ages.learn(looked(1, 15, 13), 4.0, 4.0) == 2.0  # what was there at 13 is drained
    assert ages.learn(looked(1, 15, 15), 5.0, 5.0) == 0.0
    assert ages.learn(looked(1, 3, 1), 6.0, 6.0) == float("inf")  # another store


def test_what_is_left_aside_makes_no_backlog_old() -> None:
    """Entries that wait for what somebody holds do not send everybody behind them; one more that waits does."""
    ages = BacklogAge()
    assert ages.learn(looked(3, 10, 5, aside=3), 0.0, 0.0) == 0.0
    assert ages.learn(looked(4, 12, 5, aside=3), 5.0, 5.0) == 5.0


async def test_a_lock_on_one_product_leaves_all_others_on_the_direct_path(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """While somebody holds one product's stock for seconds, orders of it go on coming into the journal and a drainer
    waits for them: nobody leaves the direct path, and once the stock is free they are confirmed."""
    pear, plum = stock_product(database, "pear", 1000), stock_product(database, "plum", 1000)
    held = [order(f"pear {number}", (pear, 1)) for number in range(16)]
    stop = asyncio.Event()
    drained = pool.beside(4, lock_timeout_ms=LOCK_WAIT_MS)
    drainer = Drainer(drained, journal)
    with psycopg.connect(database.dsn("standfest_owner")) as holder:
        holder.execute("SELECT FROM stock WHERE product_id = %s FOR UPDATE", (pear.id,))
        async with running(pool, journal) as intake:
            await has_looked(intake)
            draining = asyncio.create_task(drainer.run(stop))
            for number, each in enumerate(held):  # for longer than an order may wait to be overtaken, twice
                await accept(journal, each)
                assert (await intake.place(order(f"plum {number}", (plum, 1)))).promise == "confirmed"
                await asyncio.sleep(2 * BACKLOG_AGE_MAX_S / len(held))
            assert (intake.turns, drainer.drained, await journal.count(5)) == (0, 0, len(held))
            holder.rollback()
            async with asyncio.timeout(60):
                while await journal.count(5):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
            stop.set()
            await draining
    await drained.close()
    assert {(await stored(pool, each.order_id)).status for each in held} == {"confirmed"}


async def test_progress_never_goes_back(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """What was said to be drained is not taken back when entries that were left aside are drained at last."""
    pear, plum = stock_product(database, "pear", 10), stock_product(database, "plum", 10)
    pool = pool.beside(4, lock_timeout_ms=LOCK_WAIT_MS)
    drainer = Drainer(pool, journal)
    said = []
    with psycopg.connect(database.dsn("standfest_owner")) as holder:
        holder.execute("SELECT FROM stock WHERE product_id = %s FOR UPDATE", (pear.id,))
        await accept(journal, order("first", (pear, 1)), order("second", (plum, 1)))
        await drainer.round()
        said.append(await journal.backlog(5))
        await accept(journal, order("third", (pear, 1)), order("fourth", (plum, 1)))
        await drainer.round()
        said.append(await journal.backlog(5))
        holder.rollback()
    await drainer.round()
    said.append(await journal.backlog(5))
    await pool.close()
    revisions = [each.drained_revision or 0 for each in said]
    assert revisions == sorted(revisions)
    assert [(each.count, each.aside) for each in said] == [(1, 1), (2, 2), (0, 0)]


async def test_stuck_drainers_make_no_goods_scarce(
    database: TestDatabase, pool: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody drains, and new orders go directly for that reason, what was never read holds no goods back."""
    monkeypatch.setattr(paths, "DRAINERS_STUCK_S", BACKLOG_AGE_MAX_S + 1.0)
    pear, plum = stock_product(database, "pear", 1000), stock_product(database, "plum", 500)
    async with running(pool, journal) as intake:
        await has_looked(intake)
        await accept(journal, *(order(f"waits {number}", (pear, 1)) for number in range(300)))
        await eventually(lambda: intake.turns > 0)
        await eventually_direct(intake)
        placed = [await intake.place(order(f"plum {number}", (plum, 1))) for number in range(4)]
    assert {each.promise for each in placed} == {"confirmed"}
    await drain(pool, journal)


async def test_keys_that_are_used_again_and_again_keep_nobody_off_the_direct_path(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """A client that sends other orders under its used keys is told so, and takes no connection from new orders."""
    pear, plum = stock_product(database, "pear", 1000), stock_product(database, "plum", 1000)
    async with running(pool, journal) as intake:
        await asyncio.gather(*(intake.place(order(f"k{number}", (pear, 1))) for number in range(60)))
        again = [asyncio.create_task(intake.place(order(f"k{number}", (plum, 1)))) for number in range(60)]
        placed: list[Placement] = []
        while not all(task.done() for task in again):
            placed.append(await intake.place(order(f"new {len(placed)}", (plum, 1))))
        outcomes = await asyncio.gather(*again, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {KeyReused}
        assert {outcome.promise for outcome in placed} == {"confirmed"}
        assert intake.turns == 0


async def test_new_goods_go_to_those_who_wait(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """Of thirty new pieces those who wait get what they wait for, the oldest first, before any newcomer."""
    pear = stock_product(database, "pear", 0, "backorder")
    waiting = [order(f"waits {number}", (pear, 3)) for number in range(8)]
    async with running(pool, journal) as intake:
        for each in waiting:
            assert (await intake.place(each)).promise == "backordered"
        await count(pool, "pear", 30)
        newer = [await intake.place(order(f"newer {number}", (pear, 4))) for number in range(3)]
        assert [each.promise for each in newer] == ["confirmed", "backordered", "backordered"]
    await confirm_backorders(pool)
    assert [(await stored(pool, each.order_id)).status for each in waiting] == ["confirmed"] * 8
    second = await stored(pool, newer[1].order.order_id)
    assert (second.lines[0].reserved, second.lines[0].backordered) == (2, 2)
    assert query(database, "SELECT on_hand, reserved, backordered FROM stock") == [(30, 30, 6)]


async def test_what_is_waited_for_is_counted_on_the_stock_row(database: TestDatabase, pool: Database) -> None:
    """The sum follows placing, supplying and cancelling, whoever writes: also a release that knows nothing of it."""
    pear = stock_product(database, "pear", 1, "backorder")
    first, second = order("first", (pear, 5)), order("second", (pear, 7))
    for each in (first, second):
        await place_one(pool, each)
    assert query(database, "SELECT reserved, backordered FROM stock") == [(1, 11)]
    await count(pool, "pear", 3)
    await confirm_backorders(pool)
    assert query(database, "SELECT reserved, backordered FROM stock") == [(3, 9)]
    for each in (first, second):
        async with pool.write(5) as connection:
            command = CancelCommand(CLIENT, f"cancel {each.order_id}", each.order_id, {}, CancelRequest(), False, NOW)
            await cancel(connection, command)
    assert query(database, "SELECT reserved, backordered FROM stock") == [(0, 0)]
