"""Seals: each node keeps a copy of their digests; whoever has the duty compares sealed blocks with their orders.

Who wants to rewrite an audited order unnoticed has to rewrite its seal in the database, which the order plane's role
may not, and the copies on the disks of all nodes.
"""

import time
from collections.abc import Mapping

import psycopg
import structlog

from standfest.intake.audit.blocks import (
    block_of_subject,
    differences,
    marks_subject,
    next_digests,
    next_seals,
    read_rows,
)
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.looks import DEADLINE_S, Looks
from standfest.intake.audit.seal_copy import SealCopy
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.telemetry.failures import facts_of

DIGESTS = 1_000
"""Digests in one page."""
BLOCKS = 16
"""Sealed blocks that are compared with their orders at once."""

_COULD_NOT = (DatabaseUnavailable, OutcomeUnknown, psycopg.Error)
_log = structlog.get_logger(__name__)


class Seals:
    """Takes over all seals, and compares them."""

    def __init__(
        self, copy: SealCopy, database: Database, looks: Looks, faults: Faults, compared_at: float | None = None
    ) -> None:
        """
        Args:
            copy: what this node knows of them.
            database: a small pool.
            looks: knows whether the database is there.
            faults: where what is wrong goes.
            compared_at: when all sealed blocks had last been compared, in seconds since 1970.
        """
        self._copy = copy
        self._database = database
        self._looks = looks
        self._faults = faults
        self._after = self._compared_after = self._looked_again_after = -1
        self._first_open = 0
        self.passed = False
        """Whether all seals that the database has were read since the auditor began."""
        self.compared_at = compared_at
        """When the last full pass over the sealed blocks ended, in seconds since 1970; None: there was none yet."""
        self._began_at, self._copied_at = time.time(), time.monotonic()

    @property
    def count(self) -> int:
        """Seals that this node knows."""
        return len(self._copy)

    @property
    def written(self) -> int:
        """Seals whose digests are on this node's disk."""
        return self._copy.written

    @property
    def copied_age_s(self) -> float:
        """Time since all seals were last read and were on the disk; while they were not, since the auditor began."""
        return time.monotonic() - self._copied_at

    @property
    def compared_age_s(self) -> float:
        """Time since the last full pass over the sealed blocks ended; while there was none, since the auditor began."""
        return max(0.0, time.time() - (self._began_at if self.compared_at is None else self.compared_at))

    def has(self, block: int) -> bool:
        """Whether a block is sealed."""
        return block in self._copy

    def first_open(self) -> int:
        """The lowest block that is not sealed."""
        while self._first_open in self._copy:
            self._first_open += 1
        return self._first_open

    async def copy(self) -> bool:
        """Takes over one page of seals, and compares it with the copy; whether it was the last page."""
        if not await self._looks.database_there():
            return True
        known_before = self._copy.blocks()  # what this node seals during the read may be younger than the snapshot
        try:
            async with self._database.read(DEADLINE_S) as connection:
                page = dict(await next_digests(connection, self._after, DIGESTS))
        except _COULD_NOT as error:
            _log.debug("audit_seals_not_read", **facts_of(error))
            return True
        last = len(page) < DIGESTS
        upto = 2**62 if last else max(page)
        found: dict[str, str] = {}
        for block in [each for each in known_before if self._after < each <= upto and each not in page]:
            found[_seal_subject(block)] = "the seal is gone from the database"
        new: dict[int, bytes] = {}
        for block, digest in page.items():
            known = self._copy.get(block)
            if known is None:
                new[block] = digest
            elif known != digest:
                found[_seal_subject(block)] = "the seal in the database is another one than this node's copy"
        after = self._after
        self._faults.replace("sealed", found, lambda subject: _is_seal_between(subject, after, upto))
        written = await self._copy.add(new)
        self._after = -1 if last else upto
        if last:
            self.passed = True
        if last and written:
            self._copied_at = time.monotonic()
            self._copy.is_whole()
        return last

    async def add(self, digests: Mapping[int, bytes]) -> None:
        """Takes over seals that this node made: block -> digest."""
        await self._copy.add(digests)

    async def compare(self) -> bool | None:
        """Compares some sealed blocks with their orders; whether these were the last, None where it could not look."""
        if not await self._looks.database_there():
            return None
        try:
            async with self._database.read(DEADLINE_S) as connection:
                seals = await next_seals(connection, self._compared_after, BLOCKS)
                rows = await read_rows(connection, [seal.block for seal in seals])
            suspects = [seal.block for seal in seals if not seal.whole or differences(seal, rows[seal.block])]
            found = await self._look_twice(suspects)
        except _COULD_NOT as error:
            _log.debug("audit_sealed_not_read", **facts_of(error))
            return None
        blocks = {seal.block for seal in seals}
        self._faults.replace("sealed", found, lambda subject: block_of_subject(subject) in blocks)
        last = len(seals) < BLOCKS
        self._compared_after = -1 if last else seals[-1].block
        if last:
            self.compared_at = time.time()
        return last

    async def look_again(self) -> bool | None:
        """Compares, as `compare`, some blocks in which this node found something: it may not have the duty again."""
        accused = {block_of_subject(fault.subject) for fault in self._faults.all() if fault.kind == "sealed"}
        sealed = sorted(block for block in accused if block is not None and self.has(block))
        blocks = [block for block in sealed if block > self._looked_again_after][:BLOCKS]
        last = len(blocks) < BLOCKS
        if blocks:
            if not await self._looks.database_there():
                return None
            try:
                found = await self._look_twice(blocks)
            except _COULD_NOT as error:
                _log.debug("audit_sealed_not_read", **facts_of(error))
                return None
            self._faults.replace("sealed", found, lambda subject: block_of_subject(subject) in blocks)
        self._looked_again_after = -1 if last else blocks[-1]
        return last

    async def _look_twice(self, blocks: list[int]) -> dict[str, str]:
        """What differs for certain: read where only the primary can commit."""
        found: dict[str, str] = {}
        for block in blocks:
            async with self._database.write(DEADLINE_S) as connection:
                seals = await next_seals(connection, block - 1, 1)
                rows = await read_rows(connection, [block])
            for seal in seals:
                if seal.block == block:
                    found |= differences(seal, rows[block])
                    if not seal.whole:
                        found[marks_subject(block)] = "the seal's digest is not that of its marks"
        return found


def _seal_subject(block: int) -> str:
    return f"seal of block {block}"


def _is_seal_between(subject: str, after: int, upto: int) -> bool:
    word = subject.removeprefix("seal of block ")
    return word != subject and word.isdigit() and after < int(word) <= upto
