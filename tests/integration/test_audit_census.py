"""A block is sealed when nobody can write into it, and an order is accused of no receipt only where nobody has one."""

from __future__ import annotations

import asyncio

import psycopg

from standfest.intake.audit.blocks import read_horizon
from standfest.intake.audit.complete import Complete
from tests.integration.orders import order, place_one, pool_of, stock_product
from tests.support.postgres import TestDatabase

BEGIN = "SELECT pg_logical_emit_message(true, 'standfest', '')"
CLAIM = """
INSERT INTO orders (
    order_id, client_id, idempotency_key, request_hash, content_hash, status, path, accepted_at, currency, net, gross,
    agreed
)
SELECT
    gen_random_uuid(), client_id, gen_random_uuid()::text, request_hash, content_hash, status, path, accepted_at,
    currency, net, gross, agreed
FROM orders WHERE id = 1
"""


async def test_a_transaction_that_runs_keeps_its_block_open(database: TestDatabase) -> None:
    """The transaction with the lower id commits the higher position: while the other one runs nothing is complete."""
    pool, complete, apple = pool_of(database), Complete(), stock_product(database, "apple", 10)
    await place_one(pool, order("k", (apple, 1)))
    with psycopg.connect(database.dsn()) as older, psycopg.connect(database.dsn()) as younger:
        for writer in (older, younger):
            writer.execute(BEGIN)
        for writer in (younger, older):
            writer.execute(CLAIM)
        older.commit()
        async with pool.glance(10) as connection:  # nothing else has ended: not even the commit that proves a read
            horizon = await read_horizon(connection)
        assert (horizon.newest, horizon.oldest_running) == (3, horizon.beyond_ended)
        complete.saw(horizon)
        for _ in range(3):
            async with pool.read(10) as connection:
                horizon = await read_horizon(connection)
            complete.saw(horizon)
        assert complete.upto == -1
        younger.commit()
    async with pool.read(10) as connection:
        horizon = await read_horizon(connection)
    complete.saw(horizon)
    assert complete.upto == 3
    await pool.close()


async def test_who_claims_positions_has_a_transaction_id(database: TestDatabase) -> None:
    """A transaction that waits to claim has its id: the audit tells by ids who may hold a position."""
    pool, apple = pool_of(database), stock_product(database, "apple", 10)
    waiting = "SELECT backend_xid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with (
        psycopg.connect(database.dsn("standfest_owner")) as owner,
        database.cluster.admin(database.name) as superuser,
    ):
        owner.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        placing = asyncio.create_task(place_one(pool.beside(1, lock_timeout_ms=20_000), order("k", (apple, 1))))
        while not (found := superuser.execute(waiting).fetchall()):
            assert not placing.done()
            await asyncio.sleep(0.02)
        assert [transaction_id for (transaction_id,) in found if transaction_id is None] == []
        owner.rollback()
    await placing
    await pool.close()
