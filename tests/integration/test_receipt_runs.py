"""What a process says of itself beside its receipts tells the audit which orders may have lost theirs with it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from standfest.intake import receipt_log as receipt_logs
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.runs import KEPT_S, THOROUGH, Runs
from standfest.intake.audit.windows import Windows
from standfest.intake.receipt_log import receipt_files, receipt_log
from standfest.intake.receipt_runs import RUN_SUFFIX, WRITTEN_SUFFIX, Mark, RunFile, began_mark
from tests.integration.test_receipt_log import receipt, until

ORDER_ID = UUID(int=7)


def runs_of(directory: Path, kept: Windows | None = None) -> Runs:
    """The runs of a directory, for what needs no receipts."""
    runs = Runs(directory, cast("Follower", None), Faults(), {}, kept)
    runs.look()
    return runs


async def the_file(directory: Path, suffix: str) -> Path:
    """The one file with a suffix, once it is there."""
    found: list[Path] = []

    def look() -> list[Path]:
        found[:] = directory.glob(f"*{suffix}")
        return found

    await until(look, f"a file *{suffix}")
    [path] = found
    return path


def no_space(*_: object) -> int:
    """Stands for any write on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def age(path: Path, seconds: float) -> None:
    """Makes a file look as if it was changed so long ago."""
    at = time.time() - seconds
    os.utime(path, (at, at))


@pytest.fixture
def since_long(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Does something as if it were five minutes ago."""
    now = time.time()

    def do(what: Callable[[], None]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now - 300)
            what()

    return do


async def test_a_process_that_cannot_write_says_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, with receipts and a note that wait, its run file is not older than the last second or two."""
    async with receipt_log(tmp_path, "api") as log:
        path = await the_file(tmp_path, RUN_SUFFIX)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", no_space)
            log.append(receipt())
            log.note_unanswered(ORDER_ID)
            await until(lambda: log.failures, "a failure")
            age(path, 60)
            await until(lambda: time.time() - path.stat().st_mtime < 3, "it says that it lives")
            assert log.written == 0


@pytest.mark.parametrize("full_for", ["receipts and notes", "receipts"])
async def test_all_orders_of_a_time_without_space_are_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    since_long: Callable[[Callable[[], None]], None],
    full_for: str,
) -> None:
    """A process that is stopped with receipts that it could not write did not end well, and what was accepted from
    the oldest of them to its end may have none; what was accepted before may not."""
    with monkeypatch.context() as patch:
        if full_for == "receipts":
            patch.setattr(receipt_logs._RotatedFile, "write", no_space)
        else:
            patch.setattr(os, "write", no_space)
        async with receipt_log(tmp_path, "api") as log:
            since_long(lambda: log.append(receipt()))
            await until(lambda: log.failures, "a failure")
            oldest_at = log.statement().oldest_queued_at
            assert oldest_at is not None
        assert (log.written, log.lost) == (0, 1)
    runs = runs_of(tmp_path)
    now = time.time()
    assert [runs.explains(ORDER_ID, at) for at in (oldest_at - 1, oldest_at + 100, now)] == ["unclean"] * 3
    assert runs.explains(ORDER_ID, oldest_at - 60) == ""


async def test_what_is_written_at_last_explains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that could write again before it was stopped ended well."""
    async with receipt_log(tmp_path, "api") as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", no_space)
            log.append(receipt())
            await until(lambda: log.failures, "a failure")
        await until(lambda: log.written == 1, "written")
    assert len(receipt_files(tmp_path)) == 1
    assert runs_of(tmp_path).windows == []


async def test_a_note_that_was_not_written_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since_long: Callable[[Callable[[], None]], None]
) -> None:
    """Where only a note of an order without an answer could not be written, that order is explained as well."""
    async with receipt_log(tmp_path, "api") as log:
        path = await the_file(tmp_path, WRITTEN_SUFFIX)
        monkeypatch.setattr(os, "write", no_space)
        since_long(lambda: log.note_unanswered(ORDER_ID))
        await until(lambda: time.time() - path.stat().st_mtime > 290, "said that a note waits")
    assert runs_of(tmp_path).explains(ORDER_ID, time.time() - 299) == "unclean"


def test_an_unclean_end_is_remembered_when_its_run_file_is_removed(tmp_path: Path) -> None:
    """A run file is removed after a day, and orders of its end are explained after it and over restarts."""
    run = RunFile(tmp_path / f"api-20260101T000000.000000Z{RUN_SUFFIX}")
    run.write([began_mark("api")])
    run.say_alive(time.time())
    run.close()
    for path in tmp_path.iterdir():
        age(path, KEPT_S + 60)
    kept = Windows()
    runs_of(tmp_path, kept)
    assert len(list(tmp_path.iterdir())) == 2  # until what is kept is on disk
    assert len(kept.kept()) == 1
    runs_of(tmp_path, Windows(kept.kept()))
    assert list(tmp_path.iterdir()) == []
    assert kept.covers(time.time() - KEPT_S - 60)


def test_orders_without_an_answer_are_forgotten_with_their_run(tmp_path: Path) -> None:
    """An audit that runs for months keeps no more of them than the run files that are left name."""
    run = RunFile(tmp_path / f"api-20260101T000000.000000Z{RUN_SUFFIX}")
    run.write([began_mark("api"), Mark(0.0, "unanswered", order_id=ORDER_ID), Mark(0.0, "ended")])
    run.close()
    runs = runs_of(tmp_path)
    assert runs.explains(ORDER_ID, 0.0) == "unanswered"
    for path in tmp_path.iterdir():
        age(path, KEPT_S + 60)
    for _ in range(THOROUGH):
        runs.look()
    assert list(tmp_path.iterdir()) == []
    assert runs.explains(ORDER_ID, 0.0) == ""
