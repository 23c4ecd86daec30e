"""Blocks of ingest positions: what is in one, and the seal that says what was in it when it was audited."""

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from standfest.domain.synthetic import SYNTHETIC_CLIENT
from standfest.intake.audit.receipted import BLOCK, block_of
from standfest.storage.connection import Connection
from standfest.storage.statements import statement

_MARK_BYTES = 4
_POSITION, _MARKS = "ingest position ", "marks of block "


class Row(msgspec.Struct, frozen=True):
    """What of a stored order never changes lawfully, and what a receipt of it says."""

    position: int
    order_id: UUID
    request_hash: bytes
    accepted_at: datetime.datetime
    path: str
    first_type: str | None
    """Of its first event; None where it has none."""
    first_content_hash: bytes | None
    first_chain_hash: bytes | None


class Seal(msgspec.Struct, frozen=True):
    """What was in a block."""

    block: int
    marks: bytes
    """Four bytes a position, zero where there was no order."""
    digest: bytes

    @property
    def whole(self) -> bool:
        """Whether the digest is that of the marks."""
        return len(self.marks) == BLOCK * _MARK_BYTES and self.digest == digest_of(self.block, self.marks)


class Horizon(msgspec.Struct, frozen=True):
    """How far ingest positions are given out, and which transactions have ended, in one snapshot."""

    newest: int
    """The highest ingest position of a committed order."""
    baseline: int
    oldest_running: int
    """The lowest transaction id in use."""
    beyond_ended: int
    """One past the highest transaction id that was in use and is not any more."""


def seal_of(block: int, rows: Iterable[Row]) -> Seal:
    """The seal of a block with these orders."""
    marks = bytearray(BLOCK * _MARK_BYTES)
    for row in rows:
        at = (row.position - block * BLOCK) * _MARK_BYTES
        marks[at : at + _MARK_BYTES] = _mark(row)
    return Seal(block, bytes(marks), digest_of(block, bytes(marks)))


def digest_of(block: int, marks: bytes) -> bytes:
    """The digest of a seal."""
    return hashlib.sha256(b"%d " % block + marks).digest()


def orders_in(seal: Seal) -> int:
    """How many orders are sealed."""
    return sum(1 for mark in _marks(seal.marks) if any(mark))


def differences(seal: Seal, rows: Sequence[Row]) -> dict[str, str]:
    """What is not as it was sealed: details by subject."""
    now = seal_of(seal.block, rows)
    if now.marks == seal.marks:
        return {}
    by_position = {row.position: row for row in rows}
    found: dict[str, str] = {}
    for offset, (before, after) in enumerate(zip(_marks(seal.marks), _marks(now.marks), strict=True)):
        if before == after:
            continue
        position = seal.block * BLOCK + offset
        row = by_position.get(position)
        name = "" if row is None else f" ({row.order_id})"
        if not any(after):
            detail = "the order that was audited here is gone"
        elif not any(before):
            detail = f"an order{name} stands where there was none when this was audited"
        else:
            detail = f"the order{name} is another one than was audited here"
        found[subject_of(position)] = detail
    return found


def subject_of(position: int) -> str:
    """How an ingest position is named in faults."""
    return f"{_POSITION}{position}"


def marks_subject(block: int) -> str:
    """How the marks of a block's seal are named in faults."""
    return f"{_MARKS}{block}"


def block_of_subject(subject: str) -> int | None:
    """The block of a fault's subject: an ingest position, or marks; None where it is about something else."""
    for prefix, positions in ((_POSITION, BLOCK), (_MARKS, 1)):
        word = subject.removeprefix(prefix)
        if word != subject and word.isdigit():
            return int(word) // positions
    return None


def _marks(marks: bytes) -> list[bytes]:
    return [marks[at : at + _MARK_BYTES] for at in range(0, len(marks), _MARK_BYTES)]


def _mark(row: Row) -> bytes:
    facts = b"%d " % row.position + row.order_id.bytes + row.request_hash + (row.first_chain_hash or b"")
    mark = hashlib.sha256(facts).digest()[:_MARK_BYTES]
    return mark if any(mark) else b"\1" * _MARK_BYTES


async def read_horizon(connection: Connection) -> Horizon:
    """How things stand now."""
    row = await (await connection.execute(statement("audit/horizon"))).fetchone()
    assert row is not None  # noqa: S101 - a statement without FROM gives a row
    newest, baseline, *transactions = row
    return Horizon(newest, baseline or 0, *(int(transaction) for transaction in transactions))


async def read_rows(connection: Connection, blocks: Sequence[int]) -> dict[int, list[Row]]:
    """The orders in some blocks, synthetic ones left out; in order of position."""
    rows: dict[int, list[Row]] = {block: [] for block in blocks}
    for first, last in _ranges(blocks):
        values = {"first": first * BLOCK, "last": last * BLOCK + BLOCK - 1, "synthetic": SYNTHETIC_CLIENT}
        for facts in await (await connection.execute(statement("audit/block_orders"), values)).fetchall():
            row = Row(*facts)
            rows[block_of(row.position)].append(row)
    return rows


async def add_seal(connection: Connection, seal: Seal, node: str) -> None:
    """Adds a seal where the block has none, in the caller's transaction."""
    values: Mapping[str, Any] = {**msgspec.structs.asdict(seal), "orders": orders_in(seal), "node": node}
    await connection.execute(statement("audit/add_seal"), values)


async def next_seals(connection: Connection, after: int, seals_max: int) -> list[Seal]:
    """The seals of the blocks that follow one, in order."""
    values = {"after": after, "seals_max": seals_max}
    return [Seal(*row) for row in await (await connection.execute(statement("audit/next_seals"), values)).fetchall()]


async def next_digests(connection: Connection, after: int, seals_max: int) -> list[tuple[int, bytes]]:
    """Block and digest of the seals that follow one, in order."""
    values = {"after": after, "seals_max": seals_max}
    return await (await connection.execute(statement("audit/next_digests"), values)).fetchall()


def _ranges(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Blocks that follow each other, as first and last ones."""
    ranges: list[tuple[int, int]] = []
    for block in sorted(blocks):
        if ranges and ranges[-1][1] == block - 1:
            ranges[-1] = ranges[-1][0], block
        else:
            ranges.append((block, block))
    return ranges
