"""Receipts that are not settled: none is forgotten, and how old the oldest ones are is known."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import UUID, uuid4

import pytest

from standfest.domain.identity import order_number
from standfest.intake.audit import unsettled as unsettled_module
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.files import Piece, read_piece
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.looks import Glance, Looks
from standfest.intake.audit.unsettled import Unsettled
from standfest.intake.receipt_lines import lines_of
from standfest.intake.receipts import Receipt


def receipts(count: int) -> list[Receipt]:
    """Receipts of so many orders."""
    at = datetime.datetime.now(datetime.UTC)
    ids = [uuid4() for _ in range(count)]
    return [Receipt(each, order_number(each), "0" * 64, "1" * 64, at, "direct", "confirmed") for each in ids]


class FindsAll:
    """Looks with which every order is found."""

    def __init__(self) -> None:
        self.asked: list[UUID] = []

    async def database_there(self) -> bool:
        """It is."""
        return True

    async def glance_at_receipts(self, asked: Sequence[Receipt]) -> list[Glance]:
        """All found."""
        self.asked += [each.order_id for each in asked]
        return ["found" for _ in asked]


def write(path: Path, given: Sequence[tuple[float, Receipt]]) -> None:
    """Writes receipts that were given at some moments."""
    path.write_bytes(lines_of(list(given), 1))


@pytest.mark.parametrize("in_memory", [0, 1, 10], ids=["none in memory", "one in memory", "all in memory"])
def test_the_oldest_receipt_of_each_kind_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    """In whichever order receipts are read, and wherever they are kept: of unknown orders, and of those that wait."""
    monkeypatch.setattr(unsettled_module, "PENDING_MAX", in_memory)
    path = tmp_path / "api-1-0001.jsonl"
    unsettled = Unsettled(tmp_path, cast("Looks", FindsAll()), Findings(), Faults())
    assert (unsettled.oldest_unknown_at, unsettled.oldest_waiting_at) == (None, None)
    write(path, list(zip([4.0, 3.0, 2.0, 1.0], receipts(4), strict=True)))
    unsettled.take(path.name, read_piece(path, 0, 10), ["unknown", "waits", "unseen", "waits"])
    assert (unsettled.oldest_unknown_at, unsettled.oldest_waiting_at) == (2.0, 1.0)
    assert (unsettled.unknown, unsettled.waiting) == (2, 2)


def gone(path: Path) -> None:
    """The file cannot be opened."""
    path.unlink()


def damaged(path: Path) -> None:
    """No line is a receipt."""
    path.write_bytes(path.read_bytes().replace(b"entry", b"other"))


def replaced(path: Path) -> None:
    """Other receipts stand in its place."""
    write(path, [(1.0, each) for each in receipts(3)])


@pytest.mark.parametrize("spoil", [gone, damaged, replaced])
async def test_a_receipt_that_cannot_be_read_again_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    """Its order is unknown and its file a fault until it can be read, and then the order is looked for."""
    monkeypatch.setattr(unsettled_module, "PENDING_MAX", 1)
    path, looks, faults = tmp_path / "api-1-0001.jsonl", FindsAll(), Faults()
    given = [(1.0, each) for each in receipts(3)]
    write(path, given)
    unsettled = Unsettled(tmp_path, cast("Looks", looks), Findings(), faults)
    unsettled.take(path.name, read_piece(path, 0, 10), ["unknown"] * 3)
    as_it_was = path.read_bytes()
    spoil(path)
    monkeypatch.setattr(unsettled_module, "time", SimpleNamespace(monotonic=lambda: float("inf")))
    for _ in range(4):
        await unsettled.look_again()
    assert (len(looks.asked), unsettled.unknown, unsettled.oldest_unknown_at) == (1, 2, 1.0)
    assert unsettled.held(each.order_id for _, each in given) == {each.order_id for _, each in given[1:]}
    assert faults.counts() == {"receipts_unreadable": 1}
    path.write_bytes(as_it_was)
    for _ in range(4):
        await unsettled.look_again()
    assert sorted(looks.asked) == sorted(each.order_id for _, each in given)
    assert (unsettled.unknown, faults.counts()) == (0, {})


async def test_a_file_that_is_let_go_of_while_it_is_read_again_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its receipts do not come back, are not counted twice, and until then hold the file."""
    monkeypatch.setattr(unsettled_module, "PENDING_MAX", 0)
    path = tmp_path / "api-1-0001.jsonl"
    write(path, [(1.0, each) for each in receipts(3)])
    unsettled = Unsettled(tmp_path, cast("Looks", FindsAll()), Findings(), Faults())
    unsettled.take(path.name, read_piece(path, 0, 10), ["unknown"] * 3)

    def read(directory: Path, start: int, lines_max: int) -> Piece:
        assert unsettled.any_of(path.name)
        assert unsettled.first_places() == {path.name: 0}
        unsettled.forget(path.name)
        return read_piece(directory, start, lines_max)

    monkeypatch.setattr(unsettled_module, "PENDING_MAX", 1)
    monkeypatch.setattr(unsettled_module, "read_piece", read)
    await unsettled.look_again()
    assert (unsettled.unknown, unsettled.any_of(path.name)) == (0, False)
