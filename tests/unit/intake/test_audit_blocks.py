"""Seals of blocks and the bits of receipted positions: whatever changes in a block is named by its ingest position."""

from __future__ import annotations

import datetime
from uuid import UUID

import msgspec

from standfest.intake.audit.blocks import Row, Seal, block_of_subject, differences, orders_in, seal_of, subject_of
from standfest.intake.audit.receipted import BLOCK, Receipted, positions_of

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
BLOCK_3 = 3 * BLOCK


def row(position: int) -> Row:
    """An order at a position."""
    return Row(position, UUID(int=position), b"r" * 32, AT, "direct", "order.confirmed", b"c" * 32, b"h" * 32)


ROWS = [row(BLOCK_3), row(BLOCK_3 + 7), row(BLOCK_3 + BLOCK - 1)]


def test_a_block_as_it_was_sealed_has_no_differences() -> None:
    """What never changes lawfully is in the seal; when an order came in and how it stands is not."""
    seal = seal_of(3, ROWS)
    assert (orders_in(seal), seal.whole) == (3, True)
    assert differences(seal, [msgspec.structs.replace(each, path="journal") for each in ROWS]) == {}


def test_what_is_gone_added_or_another_is_named_by_its_position() -> None:
    """An order that is gone, one that was added, and one with another first event are three differences."""
    changed = msgspec.structs.replace(ROWS[1], first_chain_hash=b"x" * 32)
    found = differences(seal_of(3, ROWS), [ROWS[0], changed, row(BLOCK_3 + 20)])
    assert set(found) == {subject_of(BLOCK_3 + offset) for offset in (7, 20, BLOCK - 1)}
    assert "gone" in found[subject_of(BLOCK_3 + BLOCK - 1)]
    assert "stands where there was none" in found[subject_of(BLOCK_3 + 20)]
    assert "another one" in found[subject_of(BLOCK_3 + 7)]
    assert {block_of_subject(subject) for subject in found} == {3}
    assert block_of_subject("seal of block 3") is None


def test_a_seal_with_other_marks_is_not_whole() -> None:
    """The digest is over block and marks: a seal of another block, or with a mark changed, shows by itself."""
    seal = seal_of(3, ROWS)
    assert not Seal(4, seal.marks, seal.digest).whole
    assert not Seal(3, b"\1" + seal.marks[1:], seal.digest).whole
    assert not Seal(3, seal.marks[:-4], seal.digest).whole


def test_bits_are_told_once_and_kept() -> None:
    """Who asks for what changed since a version gets the blocks that did; the state on disk has all of them."""
    bits = Receipted()
    bits.add([1, 2, BLOCK + 5])
    version = bits.version
    assert set(bits.since(0)) == {"0", "1"}
    bits.add([1, BLOCK + 6])
    assert bits.since(version) == {"1": f"{(1 << 5) | (1 << 6):x}"}
    again = Receipted(bits.kept())
    assert positions_of(0, again.mask(0)) == [1, 2]
    assert set(again.since(0)) == {"0", "1"}
    again.forget([0])
    assert (again.mask(0), again.known()) == (0, [1])
