"""Seals: each node keeps a copy of their digests; whoever has the duty compares sealed blocks with their orders.

Who wants to rewrite an audited order unnoticed has to rewrite its seal in the database, which the order plane's role
may not, and the copies on the disks of all nodes.
"""

import asyncio
import os
import time
from pathlib import Path

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
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable, OutcomeUnknown
from standfest.telemetry.failures import facts_of

COPY_FILE = "audit.seals"
DIGESTS = 1_000
"""Digests in one page."""
BLOCKS = 16
"""Sealed blocks that are compared with their orders at once."""

_COULD_NOT = (DatabaseUnavailable, OutcomeUnknown, psycopg.Error)
_log = structlog.get_logger(__name__)


class Seals:
    """This node's copy of all seals' digests."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        looks: Looks,
        faults: Faults,
        copied: int = 0,
        compared_at: float | None = None,
    ) -> None:
        """
        Args:
            directory: where the copy is.
            database: a small pool.
            looks: knows whether the database is there.
            faults: where what is wrong goes.
            copied: how many digests the copy had before.
            compared_at: when all sealed blocks had last been compared, in seconds since 1970.
        """
        self._path = directory / COPY_FILE
        self._database = database
        self._looks = looks
        self._faults = faults
        self._digests = _read_copy(self._path)
        self._after = self._compared_after = self._looked_again_after = -1
        self._first_open = 0
        self.passed = False
        """Whether all seals that the database has were read since the auditor began."""
        self.compared_at = compared_at
        """When the last full pass over the sealed blocks ended, in seconds since 1970; None: there was none yet."""
        self._began_at, self._copied_at = time.time(), time.monotonic()
        if len(self._digests) < copied:
            detail = f"it has {len(self._digests)} digests of seals, and had {copied}"
            faults.note("sealed", COPY_FILE, detail)

    @property
    def count(self) -> int:
        """Seals that are copied."""
        return len(self._digests)

    @property
    def copied_age_s(self) -> float:
        """Time since all seals were last read; while they were not, since the auditor began."""
        return time.monotonic() - self._copied_at

    @property
    def compared_age_s(self) -> float:
        """Time since the last full pass over the sealed blocks ended; while there was none, since the auditor began."""
        return max(0.0, time.time() - (self._began_at if self.compared_at is None else self.compared_at))

    def has(self, block: int) -> bool:
        """Whether a block is sealed."""
        return block in self._digests

    def first_open(self) -> int:
        """The lowest block that is not sealed."""
        while self._first_open in self._digests:
            self._first_open += 1
        return self._first_open

    async def copy(self) -> bool:
        """Takes over one page of seals, and compares it with the copy; whether it was the last page."""
        if not await self._looks.database_there():
            return True
        known_before = set(self._digests)  # what this node seals during the read may be younger than the snapshot
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
            known = self._digests.get(block)
            if known is None:
                new[block] = digest
            elif known != digest:
                found[_seal_subject(block)] = "the seal in the database is another one than this node's copy"
        after = self._after
        self._faults.replace("sealed", found, lambda subject: _is_seal_between(subject, after, upto))
        await self._add(new)
        self._after = -1 if last else upto
        if last:
            self.passed, self._copied_at = True, time.monotonic()
        return last

    async def add(self, block: int, digest: bytes) -> None:
        """Takes over a seal that this node made."""
        await self._add({block: digest})

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

    async def _add(self, new: dict[int, bytes]) -> None:
        if not new:
            return
        self._digests |= new
        try:
            await asyncio.to_thread(_append, self._path, new)
        except OSError as error:
            _log.error("audit_seals_not_kept", **facts_of(error))


def _seal_subject(block: int) -> str:
    return f"seal of block {block}"


def _is_seal_between(subject: str, after: int, upto: int) -> bool:
    word = subject.removeprefix("seal of block ")
    return word != subject and word.isdigit() and after < int(word) <= upto


def _read_copy(path: Path) -> dict[int, bytes]:
    digests: dict[int, bytes] = {}
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        _log.error("audit_seals_not_read", **facts_of(error))
        return {}
    for line in lines:
        block, _, digest = line.partition(" ")
        if block.isdigit() and len(digest) == 64 and not digest.strip("0123456789abcdef"):
            digests.setdefault(int(block), bytes.fromhex(digest))
    return digests


def _append(path: Path, new: dict[int, bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join(b"%d %b\n" % (block, digest.hex().encode()) for block, digest in new.items()))
