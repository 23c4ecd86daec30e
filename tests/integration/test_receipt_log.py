"""Receipts on disk: nothing is lost silently, and whatever a crash leaves half-written hides no other receipt."""

from __future__ import annotations

import asyncio
import datetime
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from standfest.domain.identity import order_number
from standfest.intake.audit.files import Piece, Read, is_closed, read_piece
from standfest.intake.receipt_log import Limits, ReceiptLog, receipt_files, receipt_log
from standfest.intake.receipts import Receipt
from tests.support.waiting import wait_until


def receipt(number: int = 1, promise: str = "confirmed") -> Receipt:
    """Some receipt; its order id is the number."""
    identifier = UUID(int=number)
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return Receipt(identifier, order_number(identifier), "0" * 64, "1" * 64, at, "direct", promise)


def all_of(path: Path) -> Piece:
    """A whole file as one piece."""
    lines: list[Read] = []
    damaged, start, more = 0, 0, True
    while more:
        piece = read_piece(path, start, 200)
        lines += piece.lines
        damaged += piece.damaged
        start, more = piece.end, piece.more
    return Piece(tuple(lines), damaged, start, more=False)


def numbers(directory: Path) -> list[int]:
    """The order ids of all receipts in a directory, in the order in which they are read."""
    return [read.entry.receipt.order_id.int for path in receipt_files(directory) for read in all_of(path).lines]


async def until(holds: Callable[[], object], what: str) -> None:
    """Waits for a condition in another task."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def test_a_receipt_is_on_disk_soon_and_all_are_when_the_process_ends(tmp_path: Path) -> None:
    """Receipts are written while the process runs, in order, in a file for its owner alone that is known to grow."""
    directory = tmp_path / "receipts"
    async with receipt_log(directory, "api-2") as log:
        given = time.time()
        log.append(receipt(1))
        await until(lambda: log.written == 1, "written")
        [path] = receipt_files(directory)
        [read] = all_of(path).lines
        assert read.entry.receipt == receipt(1)
        assert abs(read.entry.at - given) < 1
        assert path.name.startswith("api-2-")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert not is_closed(path)
        for number in range(2, 3_000):
            log.append(receipt(number))
    assert numbers(directory) == list(range(1, 3_000))
    assert is_closed(path)
    assert (log.written, log.lost, log.queued, log.failures) == (2_999, 0, 0, 0)


async def test_files_are_rotated(tmp_path: Path) -> None:
    """A file that is full is closed and followed by the next one; no receipt is in two or in none."""
    limits = Limits(file_bytes_max=2_000)
    async with receipt_log(tmp_path, "api", limits) as log:
        for number in range(1, 31):
            log.append(receipt(number))
            if number % 3 == 0:
                await until(lambda: not log.queued, "on its way")
        *full, _ = receipt_files(tmp_path)
        assert full
        assert all(is_closed(path) and path.stat().st_size <= 2_000 for path in full)
    assert numbers(tmp_path) == list(range(1, 31))


async def test_what_finds_no_room_is_counted(tmp_path: Path) -> None:
    """A full queue and a full directory lose receipts loudly, and never make the caller wait or fail."""
    log = ReceiptLog(tmp_path, "api", Limits(queued_max=10))
    for number in range(25):
        log.append(receipt(number))
    assert (log.queued, log.lost) == (10, 15)
    (tmp_path / "api-20260101T000000.000000Z-0001.jsonl").write_bytes(b"x" * 1_000)
    async with receipt_log(tmp_path, "api", Limits(directory_bytes_max=1_000)) as full:
        full.append(receipt())
    assert (full.written, full.lost) == (0, 1)


async def test_a_write_that_failed_is_tried_again(tmp_path: Path) -> None:
    """While the directory cannot be written receipts wait, and they are written once it can."""
    directory = tmp_path / "receipts"
    directory.write_text("not a directory")
    async with receipt_log(directory, "api") as log:
        log.append(receipt(1))
        log.append(receipt(2))
        await until(lambda: log.failures, "a failure")
        directory.unlink()
        await until(lambda: log.written == 2, "written after all")
    assert numbers(directory) == [1, 2]
    assert log.lost == 0


async def test_what_cannot_be_written_at_the_end_is_counted(tmp_path: Path) -> None:
    """A process that ends while its receipts cannot be written ends all the same, and says how many are lost."""
    directory = tmp_path / "receipts"
    directory.write_text("not a directory")
    async with receipt_log(directory, "api") as log:
        log.append(receipt())
    assert log.lost == 1


async def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """The ten thousandth file of a process follows the one before, and comes before those of a later process."""
    names = [f"api-2-20260101T000000.000000Z-{number}" for number in ("0001", "0002", "9999", "10000", "10001")]
    names.append("api-20260101T000000.000001Z-0001")
    for name in reversed(names):
        (tmp_path / f"{name}.jsonl").touch()
    assert [path.stem for path in receipt_files(tmp_path)] == names


_STEADY = """
import asyncio, itertools, sys
from pathlib import Path
from standfest.intake.receipt_log import receipt_log
from tests.integration.test_receipt_log import receipt

async def main():
    async with receipt_log(Path(sys.argv[1]), "api") as log:
        for number in itertools.count(1):
            log.append(receipt(number))
            print(log.failures, file=sys.stderr, flush=True)
            await asyncio.sleep(0.05)

asyncio.run(main())
"""


def test_a_disk_that_takes_nothing_is_not_filled_with_empty_files(tmp_path: Path) -> None:
    """A process that may not write a byte leaves no file behind, tries less and less often, and then writes all."""
    process = subprocess.Popen(
        [sys.executable, "-c", _STEADY, str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)),  # noqa: PLW1509
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        first, third = None, None
        for line in process.stderr:
            if first is None and int(line) == 1:
                first = time.monotonic()
            if int(line) == 3:
                third = time.monotonic()
                break
        assert first is not None
        assert third is not None
        assert third - first > 2.5  # 1 s and 2 s, as it can be told from outside
        assert receipt_files(tmp_path) == []
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: bool(numbers(tmp_path)), "receipts", 30)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    found = numbers(tmp_path)
    assert found == list(range(1, len(found) + 1))
    assert len(receipt_files(tmp_path)) == 1


_ENDLESS = """
import asyncio, sys, itertools
from pathlib import Path
from standfest.intake.receipt_log import receipt_log
from tests.integration.test_receipt_log import receipt

async def main():
    async with receipt_log(Path(sys.argv[1]), "api") as log:
        for number in itertools.count(1):
            log.append(receipt(number))
            if number % 100 == 0:
                await asyncio.sleep(0)

asyncio.run(main())
"""


def test_a_killed_process_leaves_whole_lines_but_the_last(tmp_path: Path) -> None:
    """Of what a process wrote when it was killed every whole line counts, and its file is known to grow no more."""
    process = subprocess.Popen([sys.executable, "-c", _ENDLESS, str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: sum(path.stat().st_size for path in receipt_files(tmp_path)) > 500_000, "receipts", 30)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    *_, last = receipt_files(tmp_path)
    assert is_closed(last)
    found = numbers(tmp_path)
    assert found == list(range(1, len(found) + 1))
    assert len(found) > 1_000
    assert all_of(last).damaged == 0


def test_damage_hides_no_other_receipt(tmp_path: Path) -> None:
    """A changed line, one that is no JSON, and one that is cut off are no receipts; their neighbours are."""
    asyncio.run(_write(tmp_path, 4))
    [path] = receipt_files(tmp_path)
    first, second, third, fourth = path.read_bytes().splitlines(keepends=True)
    changed = second.replace(b"confirmed", b"cancelled")
    path.write_bytes(first + changed + b"\xff{\n" + third + fourth[:50])
    piece = all_of(path)
    assert [read.entry.receipt.order_id.int for read in piece.lines] == [0, 2]
    assert piece.damaged == 2
    assert piece.end == path.stat().st_size - 50
    with path.open("ab") as file:
        file.write(fourth[50:])
    [late] = read_piece(path, piece.end, 200).lines
    assert late.entry.receipt == receipt(3)


async def _write(directory: Path, count: int) -> None:
    async with receipt_log(directory, "api") as log:
        for number in range(count):
            log.append(receipt(number))
