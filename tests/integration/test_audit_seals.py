"""Each node's copy of the seals: what it knows is compared with the database, and is on its disk when it is counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from standfest.intake.audit import seals as seals_module
from standfest.intake.audit.blocks import Seal, add_seal, next_digests, seal_of
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.seals import Seals
from standfest.storage.connection import Connection
from standfest.storage.database import Database
from tests.integration.orders import pool_of
from tests.support.audit import NoJournal
from tests.support.postgres import TestDatabase


@contextlib.asynccontextmanager
async def pool_for(database: TestDatabase) -> AsyncIterator[Database]:
    """A pool for the length of a block."""
    pool = pool_of(database)
    try:
        yield pool
    finally:
        await pool.close()


async def seal(pool: Database, *blocks: int) -> list[Seal]:
    """Seals some blocks, without orders."""
    seals = [seal_of(block, []) for block in blocks]
    async with pool.write(10) as connection:
        for each in seals:
            await add_seal(connection, each, "n1")
    return seals


async def test_what_is_sealed_while_seals_are_read_is_not_gone(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seal that this node made after the snapshot was taken is not missed in it; one that was known before is."""
    async with pool_for(database) as pool:
        faults = Faults()
        seals = Seals(tmp_path, pool, Looks(pool, NoJournal()), faults)
        [known, gone] = await seal(pool, 0, 2)
        assert await seals.copy()
        with database.cluster.admin(database.name) as superuser:
            superuser.execute("DELETE FROM audit_seal WHERE block = 2")

        async def sealed_meanwhile(connection: Connection, after: int, seals_max: int) -> Sequence[tuple[int, bytes]]:
            page = await next_digests(connection, after, seals_max)
            [made] = await seal(pool, 1)
            await seals.add(made.block, made.digest)
            return page

        monkeypatch.setattr(seals_module, "next_digests", sealed_meanwhile)
        assert await seals.copy()
        assert [fault.subject for fault in faults.all()] == [f"seal of block {gone.block}"]
        assert [seals.has(block) for block in (known.block, 1)] == [True, True]
