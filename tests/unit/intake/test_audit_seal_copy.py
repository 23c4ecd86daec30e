"""A node's copy of the seals: what counts as copied is on the disk, and what was cut off costs nothing else."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from standfest.intake.audit.faults import Fault, Faults
from standfest.intake.audit.seal_copy import COPY_FILE, LOST_WITH_MACHINE_MAX, SHOWN_S, SealCopy


def digest(block: int) -> bytes:
    """A digest."""
    return bytes([block % 256]) * 32


def blocks_in(directory: Path) -> set[int]:
    """What a copy has after a start."""
    return SealCopy(directory, Faults()).blocks()


async def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    """What is written behind half a line begins a line of its own, and is there after a start."""
    await SealCopy(tmp_path, Faults()).add({0: digest(0), 1: digest(1)})
    os.truncate(tmp_path / COPY_FILE, 100)
    copy = SealCopy(tmp_path, Faults())
    assert (copy.blocks(), copy.written) == ({0}, 1)
    await copy.add({2: digest(2), 3: digest(3)})
    assert blocks_in(tmp_path) == {0, 2, 3}


@pytest.mark.parametrize("refuses", ["write", "fsync"])
async def test_what_a_full_disk_refuses_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    """Digests that are not on the disk are known and not counted; the next time they are written with the others."""
    faults, write = Faults(), os.write
    copy = SealCopy(tmp_path, faults)
    assert await copy.add({0: digest(0)})

    def full(descriptor: int, data: bytes = b"") -> int:
        if data:
            write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, refuses, full)
    assert not await copy.add({1: digest(1)})
    assert (len(copy), copy.written, blocks_in(tmp_path)) == (2, 1, {0})
    monkeypatch.undo()
    assert await copy.add({2: digest(2)})
    assert (copy.written, blocks_in(tmp_path)) == (3, {0, 1, 2})
    assert SealCopy(tmp_path, faults, copy.written).blocks() == {0, 1, 2}
    assert faults.all() == []


async def test_what_counts_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is counted before the disk has it, and the directory has the file."""
    copy, synced, fsync = SealCopy(tmp_path, Faults()), [], os.fsync

    def watched(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), copy.written))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await copy.add({0: digest(0)})
    await copy.add({1: digest(1)})
    assert synced == [(tmp_path / COPY_FILE, 0), (tmp_path, 0), (tmp_path / COPY_FILE, 1)]


@pytest.mark.parametrize(
    ("lost", "booted", "is_fault"),
    [(0, False, False), (1, False, True), (1, True, False), (LOST_WITH_MACHINE_MAX + 1, True, True)],
)
async def test_digests_that_are_lost_are_a_fault_unless_the_machine_took_its_last_ones(
    tmp_path: Path, lost: int, booted: bool, is_fault: bool
) -> None:
    """A file that is shorter than it was is a fault; after a start of the machine its end may be missing, not more."""
    await SealCopy(tmp_path, Faults()).add({0: digest(0), 1: digest(1)})
    faults = Faults()
    SealCopy(tmp_path, faults, 2 + lost, booted=booted)
    assert [(fault.kind, fault.subject) for fault in faults.all()] == ([("sealed", COPY_FILE)] if is_fault else [])


@pytest.mark.parametrize(("age_s", "stays"), [(SHOWN_S - 60, True), (SHOWN_S + 60, False)])
async def test_digests_that_were_lost_and_are_copied_anew_are_shown_for_an_hour(
    tmp_path: Path, age_s: float, stays: bool
) -> None:
    """All of them are read again within seconds, in which nobody would notice that somebody had taken them."""
    faults = Faults([Fault("sealed", COPY_FILE, "it has 1 digests of seals, and had 2", time.time() - age_s)])
    SealCopy(tmp_path, faults).is_whole()
    assert bool(faults.all()) is stays
