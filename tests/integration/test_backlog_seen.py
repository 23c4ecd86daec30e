"""What the operations plane sees of orders that wait in the journal while others come after them."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import msgspec
import psycopg
import pytest
import pytest_asyncio

from standfest.clients.etcd_kv import EtcdStore, Put, Txn
from standfest.cluster import journal as seen_journal
from standfest.cluster.handle import Cluster
from standfest.cluster.journal import count_entries
from standfest.cluster.observation import Backlog
from standfest.intake.drain import Drainer
from standfest.intake.journal import Journal, Progress
from standfest.intake.locks import LOCK_WAIT_MS
from standfest.redundancy.journal_verdict import is_stuck
from standfest.storage.database import Database
from tests.integration.journal_path import accept
from tests.integration.orders import order, stock_product
from tests.support.postgres import TestDatabase
from tests.support.unwritable import fill

HELD = seen_journal._SORTED_CHEAPLY_MAX + 1
"""More orders than `status` looks through where none was left aside."""
AGE_S = 60.0


def ago(seconds: float) -> datetime.datetime:
    """A moment that was so long ago."""
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)


async def backlog(store: EtcdStore) -> Backlog:
    """As `status` sees it."""
    cluster = SimpleNamespace(journal_store=lambda: store, asker=SimpleNamespace(timeout_s=5.0))
    entries = await count_entries(cast("Cluster", cluster), datetime.datetime.now(datetime.UTC))
    assert entries is not None
    return entries.backlog


@pytest_asyncio.fixture
async def drainer(database: TestDatabase, pool: Database, store: EtcdStore, journal: Journal) -> AsyncIterator[Drainer]:
    """A drainer before which orders wait for a product whose stock somebody holds locked, and one other waits."""
    pear, plum = stock_product(database, "pear", 1000), stock_product(database, "plum", 1000)
    held = [msgspec.structs.replace(order(f"k{n}", (pear, 1)), accepted_at=ago(AGE_S)) for n in range(HELD)]
    await fill(store, journal, held, [])
    pool = pool.beside(4, lock_timeout_ms=LOCK_WAIT_MS)
    with psycopg.connect(database.dsn("standfest_owner")) as holder:
        holder.execute("SELECT FROM stock WHERE product_id = %s FOR UPDATE", (pear.id,))
        await accept(journal, msgspec.structs.replace(order("other", (plum, 1)), accepted_at=ago(0)))
        yield Drainer(pool, journal)
    await pool.close()


async def test_orders_that_were_left_aside_are_as_old_as_they_are(drainer: Drainer, store: EtcdStore) -> None:
    """That drainers go on with others hides from nobody for how long the oldest order waits."""
    await drainer.round()
    told = await backlog(store)
    assert (drainer.drained, told.count, is_stuck(told)) == (1, HELD, True)
    assert told.oldest_age_s is not None
    assert told.oldest_age_s >= AGE_S


async def test_a_round_that_is_under_way_hides_no_orders_that_were_left(
    drainer: Drainer, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a drainer says as it removes others says as well that older ones were left before."""

    async def nothing_said(*_: object) -> None:
        pass

    await store.txn(Txn((), (Put(b"standfest/progress", msgspec.json.encode(Progress(ago(AGE_S), 1))),)), 5)
    with monkeypatch.context() as under_way:
        under_way.setattr(Journal, "say_progress", nothing_said)
        await drainer.round()
    assert drainer.drained == 1
    assert is_stuck(await backlog(store))


async def test_too_many_orders_to_look_through_are_of_unknown_age_where_some_were_left(
    drainer: Drainer, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment up to which all others are drained says nothing of those that were left."""
    await drainer.round()
    monkeypatch.setattr(seen_journal, "_SORTED_MAX", HELD - 1)
    assert (await backlog(store)).oldest_age_s is None
