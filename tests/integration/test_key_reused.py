"""One key for two requests, on both paths: nobody who was acknowledged is ever refused for good."""

from __future__ import annotations

import contextlib

import pytest

from standfest.intake.errors import IntakeOutcomeUnknown, KeyReused
from standfest.intake.journal import Journal
from standfest.intake.paths import Path
from standfest.storage.database import Database
from tests.integration.journal_path import accept, drain, eventually, eventually_direct, running, stored
from tests.integration.orders import order, place_one, query, stock_product
from tests.support.etcd import EtcdCluster
from tests.support.postgres import TestDatabase


async def test_a_confirmed_order_is_not_refused_for_one_that_the_journal_took_under_its_key(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """With the database away its repeat is called unknown; with the database back it is answered as it was."""
    pear = stock_product(database, "pear", 1000)
    confirmed, later = order("k", (pear, 1)), order("k", (pear, 2))
    async with running(pool, journal) as intake:
        first = await intake.place(confirmed)
        assert first.promise == "confirmed"
        with database.standby.paused():
            assert (await intake.place(later)).promise == "accepted"
            with pytest.raises(IntakeOutcomeUnknown):
                await intake.place(confirmed)
        await drain(pool, journal)
        await eventually_direct(intake)
        again = await intake.place(confirmed)
        assert (again.repeated, again.promise, again.order) == (True, "confirmed", first.order)
        aside = await intake.place(later)
        assert (aside.repeated, aside.order.status) == (True, "conflict")


async def test_a_confirmed_order_is_found_while_orders_still_go_by_the_journal(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Once the database answers the repeat is answered by it, whatever the journal holds under the key."""
    pear = stock_product(database, "pear", 1000)
    confirmed, later = order("k", (pear, 1)), order("k", (pear, 2))
    await place_one(pool, confirmed)
    await accept(journal, later)
    async with running(pool, journal) as intake:  # it does not know for how long `later` waits
        await eventually(lambda: intake.path is Path.JOURNAL and not intake.database_away)
        again = await intake.place(confirmed)
        assert (again.repeated, again.promise) == (True, "confirmed")
        assert (await intake.place(later)).promise == "accepted"


async def test_an_accepted_order_is_not_refused_for_one_that_the_database_has_under_its_key(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """Its repeat on the direct path is answered with what the journal holds, before and after it is drained."""
    pear = stock_product(database, "pear", 1000)
    holder, accepted = order("k", (pear, 1)), order("k", (pear, 2))
    async with running(pool, journal) as intake:
        await intake.place(holder)
        await accept(journal, accepted)  # by a process whose way to the database was cut
        repeat = await intake.place(accepted)
        assert (repeat.repeated, repeat.promise, repeat.order.order_id) == (True, "accepted", accepted.order_id)
        await drain(pool, journal)
        assert (await intake.place(accepted)).order.status == "conflict"
        with pytest.raises(KeyReused):
            await intake.place(order("k", (pear, 3)))


async def test_whether_another_order_was_accepted_under_the_key_is_unknown_without_the_journal(
    database: TestDatabase, etcd: EtcdCluster, pool: Database, journal: Journal
) -> None:
    """A request whose key the database has for another one is not refused for good while the journal does not tell."""
    pear = stock_product(database, "pear", 1000)
    holder, accepted = order("k", (pear, 1)), order("k", (pear, 2))
    await accept(journal, accepted)
    async with running(pool, journal, deadline_s=2) as intake:
        with contextlib.ExitStack() as stack:
            for member in etcd.followers():
                stack.enter_context(member.paused())
            assert (await intake.place(holder)).promise == "confirmed"
            with pytest.raises(IntakeOutcomeUnknown):
                await intake.place(accepted)
        etcd.wait_until_well()
    await drain(pool, journal)
    assert (await stored(pool, accepted.order_id)).status == "conflict"


async def test_what_one_path_refuses_the_other_does_not_store(
    database: TestDatabase, pool: Database, journal: Journal
) -> None:
    """A request under a key that only the journal knows is refused by nobody before the database decides, and then by
    all: it is nowhere.
    """
    pear = stock_product(database, "pear", 1000)
    accepted, other = order("k", (pear, 1)), order("k", (pear, 2))
    async with running(pool, journal) as intake:
        with database.standby.paused():
            await intake.place(accepted)
            with pytest.raises(IntakeOutcomeUnknown):
                await intake.place(other)
        await drain(pool, journal)
        await eventually_direct(intake)
        for _ in range(2):
            with pytest.raises(KeyReused):
                await intake.place(other)
        assert await intake.find([other.order_id], 5) == {}
    keys = query(database, "SELECT order_id, status FROM orders")
    assert keys == [(accepted.order_id, "confirmed")]
