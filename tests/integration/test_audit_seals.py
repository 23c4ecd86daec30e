"""Each node's copy of the seals: what it knows is compared with the database, and is on its disk when it is counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from standfest.intake.audit import seals as seals_module
from standfest.intake.audit.blocks import Seal, add_seal, marks_subject, next_digests, seal_of
from standfest.intake.audit.faults import Fault, Faults
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.seal_copy import COPY_FILE, SealCopy
from standfest.intake.audit.seals import Seals
from standfest.storage.connection import Connection
from standfest.storage.database import Database
from tests.support.audit import NoJournal
from tests.support.postgres import TestDatabase


async def seal(pool: Database, *blocks: int) -> list[Seal]:
    """Seals some blocks, without orders."""
    seals = [seal_of(block, []) for block in blocks]
    async with pool.write(10) as connection:
        for each in seals:
            await add_seal(connection, each, "n1")
    return seals


async def test_what_is_sealed_while_seals_are_read_is_not_gone(
    database: TestDatabase, pool: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seal that this node made after the snapshot was taken is not missed in it; one that was known before is."""
    faults = Faults()
    seals = Seals(SealCopy(tmp_path, faults), pool, Looks(pool, NoJournal()), faults)
    [known, gone] = await seal(pool, 0, 2)
    assert await seals.copy()
    with database.cluster.admin(database.name) as superuser:
        superuser.execute("DELETE FROM audit_seal WHERE block = 2")

    async def sealed_meanwhile(connection: Connection, after: int, seals_max: int) -> Sequence[tuple[int, bytes]]:
        page = await next_digests(connection, after, seals_max)
        [made] = await seal(pool, 1)
        await seals.add({made.block: made.digest})
        return page

    monkeypatch.setattr(seals_module, "next_digests", sealed_meanwhile)
    assert await seals.copy()
    assert [fault.subject for fault in faults.all()] == [f"seal of block {gone.block}"]
    assert [seals.has(block) for block in (known.block, 1)] == [True, True]


async def test_seals_that_were_lost_are_well_once_all_are_on_the_disk_again(
    database: TestDatabase, pool: Database, tmp_path: Path
) -> None:
    """The fault of a shortened copy goes when all seals were read again, and not while the disk refuses them."""
    await seal(pool, 0, 1, 2)
    faults = Faults([Fault("sealed", COPY_FILE, "it has 0 digests of seals, and had 3", 0.0)])
    directory = tmp_path / "gone"
    copy = SealCopy(directory, faults)
    seals = Seals(copy, pool, Looks(pool, NoJournal()), faults)
    assert await seals.copy()
    assert (seals.count, seals.written, len(faults.all())) == (3, 0, 1)
    copied_at = time.monotonic() - seals.copied_age_s
    directory.mkdir()
    assert await seals.copy()
    assert (seals.written, faults.all()) == (3, [])
    assert time.monotonic() - seals.copied_age_s > copied_at


async def test_that_a_digest_is_not_that_of_its_marks_stays_until_it_is(
    database: TestDatabase, pool: Database, tmp_path: Path
) -> None:
    """The copying of seals, which compares digests alone, does not clear what the comparison of sealed blocks found."""
    faults = Faults()
    seals = Seals(SealCopy(tmp_path, faults), pool, Looks(pool, NoJournal()), faults)
    [made] = await seal(pool, 0)
    with database.cluster.admin(database.name) as superuser:
        superuser.execute("UPDATE audit_seal SET marks = set_byte(marks, 0, 1)")
        for _ in range(2):
            assert await seals.compare()
            assert await seals.copy()
            assert marks_subject(0) in [fault.subject for fault in faults.all()]
        superuser.execute("UPDATE audit_seal SET marks = %s", (made.marks,))
    assert await seals.compare()
    assert faults.all() == []
