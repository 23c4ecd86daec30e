"""The audit knows for as long as a run lives which of its receipt files it removed itself, and misses none of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import msgspec
import pytest

from standfest.intake.audit.faults import Faults
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.left import RANGES_MAX, Left
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.runs import Runs
from standfest.intake.audit.state import FileState, State, read_state, write_state
from standfest.intake.receipt_runs import RUN_SUFFIX, Mark, RunFile, began_mark

RUN = "api-2-20260101T000000.000000Z"


def name_of(number: int, run: str = RUN) -> str:
    """Name of a receipt file."""
    return f"{run}-{number:04}.jsonl"


def faults_of(directory: Path, follower: Follower) -> list[str]:
    """What is said to be missing of the files of which the run files in a directory tell."""
    faults = Faults()
    runs = Runs(directory, follower, faults)
    runs.look()
    runs.compare()
    return [fault.subject for fault in faults.all()]


@pytest.mark.parametrize("restarted", [False, True])
def test_however_many_files_were_removed_none_of_them_is_missing(tmp_path: Path, restarted: bool) -> None:
    """A process that lives through thousands of files is accused of none that the audit removed, and of one that
    somebody else removed between them."""
    numbers = range(1, 2_601)
    run = RunFile(tmp_path / f"{RUN}{RUN_SUFFIX}")
    run.write([began_mark("api-2"), *(Mark(0.0, "closed", file=name_of(number), lines=5) for number in numbers)])
    audited = {name_of(number): FileState(10, 5) for number in numbers if number != 1_700}
    follower = Follower(tmp_path, cast("Looks", None), Findings(), Faults(), audited)
    for name in audited:
        follower.leave(name)
    if restarted:
        write_state(tmp_path, State(left=follower.left))
        follower = Follower(tmp_path, cast("Looks", None), Findings(), Faults(), left=read_state(tmp_path).left)
    assert faults_of(tmp_path, follower) == [f"{name_of(1_700)} as counted"]
    run.close()


def test_names_of_the_release_before_are_understood(tmp_path: Path) -> None:
    """It kept the newest 2,000 names: a list that is full has forgotten earlier files of the same runs."""
    names = [name_of(number) for number in range(601, 2_601)]
    (tmp_path / "audit.json").write_bytes(b'{"format":2,"left":%b}' % msgspec.json.encode(names))
    full = Left(read_state(tmp_path).left)
    assert all(name_of(number) in full for number in range(1, 2_601))
    assert name_of(2_601) not in full
    short = Left(names[1:])
    assert name_of(602) in short
    assert name_of(601) not in short


def test_files_removed_in_any_order_are_few_ranges() -> None:
    """What lies between two ranges was not removed; once it is they become one."""
    left = Left()
    for number in (1, 2, 5, 6, 4, 9_999, 10_000):
        left.add(name_of(number))
    left.add(name_of(3, "api-20260101T000000.000000Z"))
    assert left.kept()[RUN] == [(1, 2), (4, 6), (9_999, 10_000)]
    assert name_of(3) not in left
    left.add(name_of(3))
    assert left.kept()[RUN] == [(1, 6), (9_999, 10_000)]


def test_a_name_that_no_process_gives_is_remembered_as_it_is() -> None:
    """Nothing is known of its neighbours."""
    left = Left()
    left.add("some.jsonl")
    left.add("some-thing.jsonl")
    assert "some.jsonl" in left
    assert "some-thing.jsonl" in left
    assert "other.jsonl" not in left


def test_of_very_many_runs_the_newest_are_remembered() -> None:
    """What is kept on disk stays small."""
    left = Left()
    for number in range(RANGES_MAX + 10):
        left.add(name_of(1, f"run{number}"))
    assert len(left.kept()) == RANGES_MAX
    assert name_of(1, "run9") not in left
    assert name_of(1, "run10") in left


def test_a_state_is_on_disk_before_it_takes_the_place_of_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that loses power leaves the state before or the new one whole, never an empty file."""
    synced: list[tuple[int, bytes]] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.stat().st_ino, path.read_bytes()))

    monkeypatch.setattr(os, "fsync", recorded)
    write_state(tmp_path, State(removed_lines=7))
    written = tmp_path / "audit.json"
    assert synced == [(written.stat().st_ino, written.read_bytes())]
