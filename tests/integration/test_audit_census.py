"""A block is sealed when nobody can write into it, and an order is accused of no receipt only where nobody has one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio

from standfest.intake.audit import census as census_module
from standfest.intake.audit.blocks import Row, add_seal, marks_subject, read_horizon, read_rows, seal_of, subject_of
from standfest.intake.audit.census import Census
from standfest.intake.audit.complete import Complete
from standfest.intake.audit.faults import Fault, Faults
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.peers import Explanation, Peers, Question
from standfest.intake.audit.receipted import Receipted
from standfest.intake.audit.seal_copy import COPY_FILE, SealCopy
from standfest.intake.audit.seals import Seals
from standfest.intake.audit.state import State, write_state
from standfest.intake.receipts import Receipt
from standfest.storage.database import Database
from tests.integration.orders import order, place_one, stock_product
from tests.support.audit import NoJournal, running_auditor, until
from tests.support.postgres import TestDatabase

LOCK = 0x5374_616E_6466_4175
"""Of the duty."""
NOTHING = Explanation([], [], [])
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


async def test_a_transaction_that_runs_keeps_its_block_open(database: TestDatabase, pool: Database) -> None:
    """The transaction with the lower id commits the higher position: while the other one runs nothing is complete."""
    complete, apple = Complete(), stock_product(database, "apple", 10)
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


async def test_who_claims_positions_has_a_transaction_id(database: TestDatabase, pool: Database) -> None:
    """A transaction that waits to claim has its id: the audit tells by ids who may hold a position."""
    apple = stock_product(database, "apple", 10)
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


class _Others(Peers):
    """Stands for the other nodes' audits: each question is answered, or not, as the test says."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(None, [], faults)
        self.answering = [True]

    async def ask(self) -> bool:
        """The next answer; the last one stays."""
        return self.answering.pop(0) if len(self.answering) > 1 else self.answering[0]


@dataclass
class Stage:
    """A census of one order at position 1 that nobody has a receipt of, and what it goes by."""

    pool: Database
    order_id: UUID
    receipted: Receipted = field(default_factory=Receipted)
    faults: Faults = field(default_factory=Faults)
    explain: Callable[[Sequence[Question]], Explanation] = lambda _: NOTHING
    rewritten: list[Receipt] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Makes the census."""
        self.others = _Others(self.faults)

    async def count(self, directory: Path) -> Census:
        """The census, when it has read the seals."""
        looks = Looks(self.pool, NoJournal())
        self.seals = Seals(SealCopy(directory, self.faults), self.pool, looks, self.faults)
        await self.seals.copy()
        census = Census(
            "n1",
            self.pool,
            looks,
            self.receipted,
            self.others,
            self.seals,
            self.faults,
            self._explain,
            self._rewrite,
        )
        assert self.seals.passed
        return census

    def _explain(self, questions: Sequence[Question]) -> Explanation:
        return self.explain(questions)

    async def _rewrite(self, receipts: Sequence[Receipt]) -> None:
        self.rewritten.extend(receipts)

    def kinds(self) -> list[tuple[str, str]]:
        """What is wrong."""
        return [(fault.kind, fault.subject) for fault in self.faults.all()]


@pytest_asyncio.fixture
async def stage(database: TestDatabase, pool: Database) -> Stage:
    """A stage with one order, whose block is looked at in each round."""
    apple = stock_product(database, "apple", 10)
    return Stage(pool, (await place_one(pool, order("k", (apple, 1)))).order.order_id)


def all_settled() -> float:
    """A moment up to which all receipts are read, so that any order may be accused."""
    return time.time() + 1_000


async def test_an_order_without_a_receipt_is_accused(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no node has its receipt, and none explains why, it is named by its ingest position."""
    monkeypatch.setattr(census_module, "OPEN_LOOK_S", 0.0)
    census = await stage.count(tmp_path)
    assert await census.round(all_settled())
    assert stage.kinds() == [("unreceipted", subject_of(1))]


@pytest.mark.parametrize("unclean", [False, True])
async def test_a_receipt_that_is_looked_at_meanwhile_accuses_nobody(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unclean: bool
) -> None:
    """A receipt is no longer held as unsettled when it is asked about, and has set its bit: there is nothing to say."""
    monkeypatch.setattr(census_module, "OPEN_LOOK_S", 0.0)

    def settled_meanwhile(questions: Sequence[Question]) -> Explanation:
        stage.receipted.add([1])
        return Explanation([], [], [each.order_id for each in questions] if unclean else [])

    stage.explain = settled_meanwhile
    census = await stage.count(tmp_path)
    assert await census.round(all_settled())
    assert (stage.kinds(), stage.rewritten, census.lacking) == ([], [], 0)


async def test_what_was_lacking_at_the_last_look_is_not_accused_at_the_next_round(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that is not looked at in this round is known as it was; its receipts may have come in since."""
    monkeypatch.setattr(census_module, "OPEN_LOOK_S", 0.0)
    stage.explain = lambda questions: Explanation([each.order_id for each in questions], [], [])
    census = await stage.count(tmp_path)
    assert await census.round(all_settled())
    for block in census._blocks.values():
        block.due = float("inf")
    stage.explain = lambda _: NOTHING
    stage.receipted.add([1])
    assert await census.round(all_settled())
    assert (stage.kinds(), census.lacking) == ([], 0)


async def test_a_node_that_falls_silent_after_it_explained_accuses_nobody(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a node has settled since it was asked is not known where it does not answer; the order waits."""
    monkeypatch.setattr(census_module, "OPEN_LOOK_S", 0.0)
    stage.others.answering = [True, False]
    census = await stage.count(tmp_path)
    assert await census.round(all_settled())
    assert (stage.kinds(), census.lacking) == ([], 1)


async def seal(pool: Database, change: Callable[[Row], Row] = lambda row: row) -> None:
    """Seals block 0 as another node does."""
    async with pool.write(10) as connection:
        rows = await read_rows(connection, [0])
        await add_seal(connection, seal_of(0, [change(row) for row in rows[0]]), "n2")


async def test_what_was_unreceipted_in_a_block_that_another_node_sealed_is_well(stage: Stage, tmp_path: Path) -> None:
    """Whoever seals a block has seen all its receipts, so nothing in it stays accused of having none."""
    stage.faults.note("unreceipted", subject_of(1), "it was accused before the duty was another node's")
    stage.faults.note("unreceipted", subject_of(300), "this one is in a block that is open")
    await seal(stage.pool)
    census = await stage.count(tmp_path)
    assert await census.round(all_settled())
    assert stage.kinds() == [("unreceipted", subject_of(300))]


async def test_what_a_node_found_in_sealed_blocks_it_looks_at_again_without_the_duty(
    database: TestDatabase, stage: Stage, tmp_path: Path
) -> None:
    """A sealed order that is as it was again is well, one that is not stays, whoever has the duty."""
    await seal(stage.pool)
    await stage.count(tmp_path)
    for subject in (subject_of(1), subject_of(2), marks_subject(0)):
        stage.faults.note("sealed", subject, "as it was when it was found")
    with database.cluster.admin(database.name) as superuser:
        superuser.execute("UPDATE orders SET request_hash = 'other' WHERE id = 1")
        assert await stage.seals.look_again()
        assert stage.kinds() == [("sealed", subject_of(1))]
        superuser.execute("DELETE FROM audit_seal")
    await seal(stage.pool)
    assert await stage.seals.look_again()
    assert stage.kinds() == []


async def test_who_lost_the_duty_lets_go_of_what_only_the_duty_judges(
    database: TestDatabase, pool: Database, tmp_path: Path
) -> None:
    """Another node finds what is wrong still; what is wrong with this node's own copy of the seals stays."""
    left = [("unreceipted", subject_of(1)), ("sealed", subject_of(2)), ("stock", "apple: row"), ("feed", "catalogue")]
    faults = [Fault(kind, subject, "found", time.time()) for kind, subject in [*left, ("sealed", COPY_FILE)]]  # type: ignore[arg-type]
    write_state(tmp_path, State(faults=faults))
    with database.cluster.admin(database.name) as other_node:
        other_node.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        async with running_auditor(tmp_path, pool.beside(2)) as auditor:
            await until(auditor, lambda report: report.fault_counts == {"sealed": 1}, "all but one let go of")
            assert [fault.subject for fault in auditor.report().faults] == [COPY_FILE]
