"""The journal path against a real PostgreSQL and a real etcd: accepting, finding, draining, and the way back."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from uuid import uuid4

import msgspec
import psycopg
import pytest

from standfest.clients.etcd_kv import EtcdError, EtcdOutcomeUnknown, EtcdStore, EtcdUnavailable, Put, Txn, TxnAnswer
from standfest.domain.events import broken_at
from standfest.domain.orders import Order
from standfest.domain.products import Product
from standfest.domain.synthetic import SYNTHETIC_CLIENT, synthetic_order
from standfest.intake.direct import Placement
from standfest.intake.drain import Drainer
from standfest.intake.drain_ahead import Ahead
from standfest.intake.errors import IntakeOutcomeUnknown, IntakeUnavailable, JournalFull, KeyReused
from standfest.intake.intake import Intake
from standfest.intake.journal import Accepted, Journal
from standfest.intake.paths import BACKLOG_AGE_MAX_S
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable
from standfest.storage.orders import read_events
from standfest.storage.statements import statement
from tests.integration.journal_path import accept, drain, eventually_direct, kept, priced, running, stored
from tests.integration.orders import order, place_one, query, stock_product
from tests.support.etcd import EtcdCluster
from tests.support.postgres import TestDatabase


async def test_an_order_is_accepted_while_no_standby_answers_and_is_one_order_afterwards(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """An attempt without an answer goes to the journal; the draining and the attempt's late commit are one order."""
    pear = stock_product(database, "pear", 5)
    async with running(pool, journal) as intake:
        wanted = order("k", (pear, 2))
        with database.standby.paused():
            placed = await intake.place(wanted)
            assert (placed.promise, placed.order.status, placed.order.path) == ("accepted", "accepted", "journal")
            again = await intake.place(wanted)
            assert again.repeated
            assert again.order == placed.order
            assert intake.on_both_paths == 1  # the repeat was not tried on the direct path any more
            found = await intake.find([wanted.order_id, uuid4()], 5)
            assert found == {wanted.order_id: placed.order}
        await drain(pool, journal)
        await eventually_direct(intake)
        repeat = await intake.place(wanted)
        assert (repeat.repeated, repeat.promise, repeat.order.order_id) == (True, "confirmed", wanted.order_id)
        assert await intake.find([wanted.order_id], 5) == {}
    assert query(database, "SELECT on_hand, reserved FROM stock") == [(5, 2)]
    assert query(database, "SELECT count(*) FROM orders") == [(1,)]


async def test_a_key_of_another_request_is_refused_once_the_database_says_so(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Another request under a key that the journal holds is not placed, and refused for good only by the database."""
    pear = stock_product(database, "pear", 5)
    async with running(pool, journal) as intake:
        with database.standby.paused():
            placed = await intake.place(order("k", (pear, 1)))
            with pytest.raises(IntakeOutcomeUnknown):
                await intake.place(order("k", (pear, 2)))
        await drain(pool, journal)
        await eventually_direct(intake)
        with pytest.raises(KeyReused) as refused:
            await intake.place(order("k", (pear, 2)))
        assert refused.value.order_id == placed.order.order_id
    assert query(database, "SELECT count(*) FROM orders") == [(1,)]


async def test_nobody_overtakes_those_who_wait(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """With the database back and old orders undrained, new ones queue behind them; after the drain they go directly."""
    pear = stock_product(database, "pear", 100)
    async with running(pool, journal) as intake:
        with database.standby.paused():
            await intake.place(order("first", (pear, 1)))
        await asyncio.sleep(
            BACKLOG_AGE_MAX_S + 0.2
        )  # not a wait for something: the backlog has to be older than the bound
        assert (await intake.place(order("second", (pear, 1)))).promise == "accepted"
        await drain(pool, journal)
        await eventually_direct(intake)
        assert (await intake.place(order("third", (pear, 1)))).promise == "confirmed"
    keys = [key for (key,) in query(database, "SELECT idempotency_key FROM orders ORDER BY id")]
    assert keys == ["first", "second", "third"]


async def test_the_journal_away_leaves_the_direct_path_as_it_was(
    database: TestDatabase, etcd: EtcdCluster, pool: Database, journal: Journal
) -> None:
    """Without the journal orders are confirmed as always; with both away nothing is promised and nothing is lost."""
    pear = stock_product(database, "pear", 5)
    lost = order("lost", (pear, 1))
    async with running(pool, journal, deadline_s=1.5) as intake:
        with contextlib.ExitStack() as stack:
            for member in etcd.followers():
                stack.enter_context(member.paused())
            assert (await intake.place(order("k", (pear, 1)))).promise == "confirmed"
            with pytest.raises(EtcdError):
                await intake.find([lost.order_id], 1)
            with database.standby.paused(), pytest.raises((IntakeOutcomeUnknown, IntakeUnavailable)):
                await intake.place(lost)
        await asyncio.to_thread(etcd.wait_until_well)
        async with asyncio.timeout(60):
            again = await intake.place(lost)
        assert again.order.order_id == lost.order_id
    await drain(pool, journal)
    assert query(database, "SELECT sum(reserved) FROM stock") == [(2,)]


async def test_an_election_is_waited_for(
    database: TestDatabase, etcd: EtcdCluster, pool: Database, journal: Journal
) -> None:
    """Orders that meet the death of the journal's leader are held until there is another one."""
    pear = stock_product(database, "pear", 100)
    async with running(pool, journal) as intake:
        with database.standby.paused():
            await intake.place(order("first", (pear, 1)))
            leader = etcd.leader()
            leader.kill()
            placed = await asyncio.gather(*(intake.place(order(f"k{n}", (pear, 1))) for n in range(20)))
            assert {each.promise for each in placed} == {"accepted"}
        etcd.restart(leader)
    await drain(pool, journal)
    assert query(database, "SELECT sum(reserved) FROM stock") == [(21,)]


async def test_the_oldest_is_drained_first(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """Who was accepted first gets the last pieces, and the rest is declined on record."""
    pear = stock_product(database, "pear", 3)
    orders = [order(f"k{number}", (pear, 1)) for number in range(6)]
    await accept(journal, *orders)
    await drain(pool, journal)
    states = [(await stored(pool, each.order_id)).status for each in orders]
    assert states == ["confirmed"] * 3 + ["declined"] * 3
    async with pool.read(5) as connection:
        events = await read_events(connection, [each.order_id for each in orders])
    assert all(broken_at(chain) is None for chain in events.values())


async def test_drainers_at_once_make_one_order_of_an_entry(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Four drainers, without the turn that saves them work, write each order once."""
    pear = stock_product(database, "pear", 1000)
    orders = [order(f"k{number}", (pear, 1)) for number in range(60)]
    await accept(journal, *orders)
    names = await journal.waiting(1000, 5)
    assert len(names) == 60
    pairs = [
        (entry, each) for entry in await journal.read(names, 5) for each in orders if each.order_id == entry.order_id
    ]

    async def drain_all(drainer: Drainer) -> None:
        async with Ahead(journal, [], 100) as ahead:
            await drainer._drain(pairs, ahead)

    await asyncio.gather(*(drain_all(Drainer(pool, journal)) for _ in range(4)))
    assert query(database, "SELECT count(*), (SELECT sum(reserved) FROM stock) FROM orders") == [(60, 60)]
    assert (await journal.backlog(5)).count == 0


async def test_a_bad_entry_holds_up_nobody(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal
) -> None:
    """What cannot be read or written is set apart, kept and found; its neighbours are drained."""
    pear = stock_product(database, "pear", 100)
    good = [order(f"k{number}", (pear, 1)) for number in range(5)]
    line = good[0].lines[0]
    bad = order("bad", (pear, 1))
    bad = msgspec.structs.replace(bad, lines=(msgspec.structs.replace(line, quantity=-1),), status="accepted")
    unreadable = uuid4()
    await accept(journal, *good[:3], bad)
    await store.txn(Txn((), (Put(f"standfest/o/{unreadable}".encode(), b'{"format": 1, "readable_by": 1'),)), 5)
    await accept(journal, *good[3:])
    drainer = await drain(pool, journal)
    assert (drainer.drained, drainer.set_apart) == (5, 2)
    assert (await journal.backlog(5)).count == 0
    assert await journal.quarantined(5) >= 2
    found = await journal.find([bad.order_id], 5)
    assert found[bad.order_id].idempotency_key == "bad"
    [repeat] = await journal.accept([bad], 5)
    assert isinstance(repeat, Accepted)
    assert repeat.repeated
    assert query(database, "SELECT sum(reserved) FROM stock") == [(5,)]


async def test_a_later_releases_entries_are_read_where_they_can_be_and_left_where_not(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal
) -> None:
    """Members that are not known are ignored; an entry that needs a later release is neither drained nor lost."""
    pear = stock_product(database, "pear", 100)
    known, unknown = order("known", (pear, 1)), order("unknown", (pear, 1))
    for wanted, readable_by in ((known, 1), (unknown, 2)):
        entry = kept(wanted)
        entry |= {"format": 2, "readable_by": readable_by, "gift": True}
        entry["order"] |= {"loyalty": {"points": 3}}
        key = f"standfest/o/{wanted.order_id}".encode()
        await store.txn(Txn((), (Put(key, msgspec.json.encode(entry)),)), 5)
    drainer = await drain(pool, journal)
    assert (drainer.drained, drainer.set_apart) == (1, 0)
    assert (await stored(pool, known.order_id)).status == "confirmed"
    assert await journal.waiting(10, 5) == [unknown.order_id]


async def test_an_accepted_order_whose_key_another_order_holds_is_kept_in_conflict(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Neither is dropped: the one in the database stays, the accepted one is stored, not fulfilled, and found again."""
    pear = stock_product(database, "pear", 100)
    accepted, holder = order("k", (pear, 7)), order("k", (pear, 1))
    await place_one(pool, holder)
    await accept(journal, accepted)
    drainer = await drain(pool, journal)
    assert drainer.conflicts == 1
    assert (await stored(pool, holder.order_id)).status == "confirmed"
    aside = await stored(pool, accepted.order_id)
    assert (aside.status, aside.content_hash, aside.lines[0].reserved) == ("conflict", accepted.content_hash, 0)
    repeat = await place_one(pool, accepted)
    assert (repeat.repeated, repeat.order.status) == (True, "conflict")
    async with pool.read(5) as connection:
        [event] = (await read_events(connection, [accepted.order_id]))[accepted.order_id]
    assert event.data == {"held_by": str(holder.order_id), "idempotency_key": "k"}
    await accept(journal, accepted)
    await drain(pool, journal)
    assert query(database, "SELECT count(*), (SELECT sum(reserved) FROM stock) FROM orders") == [(2, 1)]


@pytest.mark.parametrize(("first", "second", "held"), [("10", "8", "8"), ("8", "10", "8")])
async def test_of_two_prices_the_lower_holds(
    database: TestDatabase, pool: Database, journal: Journal, first: str, second: str, held: str
) -> None:
    """A request that database and journal agreed at two prices costs the lower, and an event keeps the other."""
    pear = stock_product(database, "pear", 100)
    wanted = order("k", (pear, 3))
    await place_one(pool, priced(wanted, first))
    other = priced(wanted, second)
    await accept(journal, other)
    await drain(pool, journal)
    kept = await stored(pool, wanted.order_id)
    assert kept.lines[0].unit_price == int(held)
    assert kept.content_hash == priced(wanted, held).content_hash
    async with pool.read(5) as connection:
        events = (await read_events(connection, [wanted.order_id]))[wanted.order_id]
    assert [event.type for event in events] == ["order.confirmed", "order.agreed_again"]
    assert events[-1].data is not None
    assert events[-1].data["agreed_hash"] == other.content_hash.hex()
    assert broken_at(events) is None
    await accept(journal, other)
    await drain(pool, journal)
    assert (await stored(pool, wanted.order_id)).version == 2


async def test_a_request_that_comes_again_late_is_no_second_order(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """An attempt that was given up and reaches the journal after its order was drained changes nothing."""
    pear = stock_product(database, "pear", 100)
    wanted = order("k", (pear, 1))
    for _ in range(3):
        await accept(journal, wanted)
        await drain(pool, journal)
    assert query(database, "SELECT count(*), (SELECT sum(reserved) FROM stock) FROM orders") == [(1, 1)]
    assert (await journal.backlog(5)).count == 0


async def test_a_full_journal_takes_nothing_and_lets_the_direct_path_be(
    database: TestDatabase, pool: Database, store: EtcdStore
) -> None:
    """Beyond its size orders that need the journal are turned away unattempted; others are placed as always."""
    pear = stock_product(database, "pear", 100)
    small = Journal(store, size_max_bytes=1)
    small.learn_size(2, alarm=False)
    async with running(pool, small, deadline_s=2) as intake:
        assert (await intake.place(order("k", (pear, 1)))).promise == "confirmed"
        with database.standby.paused():
            with pytest.raises((JournalFull, IntakeOutcomeUnknown)):
                await intake.place(order("k2", (pear, 1)))
            with pytest.raises(JournalFull):
                await intake.place(order("k3", (pear, 1)))
        await eventually_direct(intake)
        assert (await intake.place(order("k4", (pear, 1)))).promise == "confirmed"


async def test_a_bad_order_fails_alone(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """Of orders that travel in one batch, the one that the database refuses fails, and only that one."""
    pear = stock_product(database, "pear", 100)
    nothing = Product(999_999, "nothing", "x", "x", "piece", 0, pear.net_price, "standard", True, "tracked", 1)
    bad = order("bad", (pear, 1))
    bad = msgspec.structs.replace(bad, lines=(msgspec.structs.replace(bad.lines[0], quantity=-1),))
    wanted = [order(f"k{number}", (pear, 1)) for number in range(20)]
    async with running(pool, journal) as intake:
        outcomes = await asyncio.gather(
            *(intake.place(each) for each in [*wanted[:10], bad, *wanted[10:], order("gone", (nothing, 1))]),
            return_exceptions=True,
        )
    placed = [each for each in outcomes if isinstance(each, Placement)]
    assert sorted(each.order.status for each in placed) == ["confirmed"] * 20 + ["declined"]
    assert len([each for each in outcomes if isinstance(each, Exception)]) == 1


async def test_twins_share_one_attempt(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """The same request forty times at once is one order, and forty answers."""
    pear = stock_product(database, "pear", 100)
    wanted = order("k", (pear, 1))
    async with running(pool, journal) as intake:
        placed = await asyncio.gather(*(intake.place(wanted) for _ in range(40)))
    assert {each.order.order_id for each in placed} == {wanted.order_id}
    assert query(database, "SELECT count(*), (SELECT sum(reserved) FROM stock) FROM orders") == [(1, 1)]


async def test_the_backlogs_age_is_that_of_what_waits(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """Nothing waiting has no age; an order that waits is as old as it is, or is said to be older."""
    assert (await journal.backlog(5)).count == 0
    pear = stock_product(database, "pear", 100)
    await accept(journal, order("k", (pear, 1)))
    await drain(pool, journal)
    await accept(journal, order("k2", (pear, 1)))
    now = datetime.datetime.now(datetime.UTC)
    backlog = await journal.backlog(5)
    assert backlog.count == 1
    assert 0 <= backlog.age_s(now) < 60


async def test_what_a_read_shows_is_not_asked_for_through_the_log(
    database: TestDatabase, store: EtcdStore, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what a read does not show costs a write to all members: that alone needs to be certain."""
    waits, gone = order("waits", (stock_product(database, "apple", 10), 1)), uuid4()
    await accept(journal, waits)
    asked: list[list[str]] = []
    txn = store.txn

    async def noted(wanted: Txn, deadline_s: float) -> TxnAnswer:
        asked.append([type(step).__name__ for step in wanted.success])
        return await txn(wanted, deadline_s)

    monkeypatch.setattr(store, "txn", noted)
    assert set(await journal.find([waits.order_id], 5)) == {waits.order_id}
    assert asked == [["Range"] * 2]
    assert set(await journal.find([gone, waits.order_id], 5)) == {waits.order_id}
    assert asked[1:] == [["Range"] * 4, ["Delete", "Range", "Range"]]


async def test_errors_of_the_journal_are_told_apart(etcd: EtcdCluster, journal: Journal) -> None:
    """Without a quorum an order may have been written; that is called unknown, never accepted."""
    with contextlib.ExitStack() as stack:
        for member in etcd.followers():
            stack.enter_context(member.paused())
        with pytest.raises((EtcdOutcomeUnknown, EtcdUnavailable)):
            await journal.find([uuid4()], 1)
    etcd.wait_until_well()


async def test_a_synthetic_order_of_a_later_release_ends_nothing(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal
) -> None:
    """An entry that only a later release reads costs a synthetic order, and a repeat of it is called unknown."""
    pear = stock_product(database, "pear", 5)
    wanted = order("k", (pear, 1))
    await accept(journal, wanted)
    key = f"standfest/o/{wanted.order_id}".encode()
    entry = kept(wanted) | {"format": 2, "readable_by": 2}
    await store.txn(Txn((), (Put(key, msgspec.json.encode(entry)),)), 5)
    async with running(pool, journal) as intake:
        with database.standby.paused(), pytest.raises(IntakeOutcomeUnknown):
            await intake.place(wanted)


async def test_entries_of_a_later_release_hide_nothing(
    database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many entries are left for a later release, those behind them are drained."""
    monkeypatch.setattr("standfest.intake.drain.LIST_MAX", 3)
    pear = stock_product(database, "pear", 50)
    for number in range(7):
        newer = order(f"newer {number}", (pear, 1))
        entry = kept(newer) | {"format": 2, "readable_by": 2}
        await store.txn(Txn((), (Put(f"standfest/o/{newer.order_id}".encode(), msgspec.json.encode(entry)),)), 5)
    own = [order(f"k{number}", (pear, 1)) for number in range(4)]
    await accept(journal, *own)
    drainer = Drainer(pool, journal)
    for _ in range(8):
        await drainer.round()
    assert drainer.drained == 4
    assert len(await journal.waiting(100, 5)) == 7


async def placed_at_last(intake: Intake, wanted: Order) -> Placement:
    """What becomes of an order that is sent again, as clients do, where nobody knows: a slow machine is given time."""
    for _ in range(5):
        with contextlib.suppress(IntakeOutcomeUnknown):
            return await intake.place(wanted)
    return await intake.place(wanted)


async def test_heavy_orders_are_accepted_and_drained(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """Orders with long notes, too much together for one request or one answer, come through on both ways."""
    pear = stock_product(database, "pear", 10_000)
    heavy = [order(f"k{number}", *[(pear, 1)] * 100) for number in range(40)]
    heavy = [
        msgspec.structs.replace(
            each, lines=tuple(msgspec.structs.replace(line, note="ä" * 1000) for line in each.lines)
        )
        for each in heavy
    ]
    async with running(pool, journal, deadline_s=30) as intake:
        with database.standby.paused():
            placed = await asyncio.gather(*(placed_at_last(intake, each) for each in heavy))
        assert {each.promise for each in placed} == {"accepted"}
    drainer = await drain(pool, journal)
    assert drainer.drained == 40
    assert query(database, "SELECT sum(reserved) FROM stock") == [(4000,)]


async def test_a_failing_database_quarantines_nothing(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """An error that is not the entry's own (here: a missing privilege) fails the round; nothing is set apart."""
    pear = stock_product(database, "pear", 50)
    await accept(journal, *(order(f"k{number}", (pear, 1)) for number in range(3)))
    with psycopg.connect(database.dsn("standfest_owner"), autocommit=True) as owner:
        owner.execute("REVOKE INSERT ON order_line FROM standfest_app")
        drainer = Drainer(pool, journal)
        with pytest.raises(DatabaseUnavailable):
            await drainer.round()
        owner.execute("GRANT INSERT ON order_line TO standfest_app")
    assert (drainer.set_apart, await journal.count(5)) == (0, 3)
    assert (await drain(pool, journal)).drained == 3


async def test_only_synthetic_orders_can_be_forgotten(database: TestDatabase, pool: Database, journal: Journal) -> None:
    """Old synthetic orders go with all their rows; an order that is made to look like one stays."""
    pear = stock_product(database, "pear", 50)
    old = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    await place_one(pool, order("k", (pear, 1)))
    await accept(journal, synthetic_order(old, "EUR"))
    drainer = await drain(pool, journal)
    assert (drainer.drained, drainer.synthetic_age_s is not None) == (0, True)
    assert query(database, "SELECT count(*) FROM change") == [(1,)]
    async with pool.write(5) as connection:
        await connection.execute(
            "UPDATE orders SET client_id = %s, accepted_at = %s WHERE idempotency_key = 'k'", (SYNTHETIC_CLIENT, old)
        )
    async with pool.write(5) as connection:
        await connection.execute(
            statement("intake/forget_synthetic"), {"older_than": old + datetime.timedelta(days=1), "at_most": 10}
        )
    left = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_line), (SELECT count(*) FROM order_event)"
    assert query(database, left) == [(1, 1, 1)]
