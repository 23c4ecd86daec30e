"""Receipts that are not settled: none is forgotten, and how old the oldest ones are is known."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import pytest

from standfest.domain.identity import order_number
from standfest.intake.audit import unsettled as unsettled_module
from standfest.intake.audit.files import read_piece
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
    unsettled = Unsettled(tmp_path, cast("Looks", FindsAll()), Findings())
    assert (unsettled.oldest_unknown_at, unsettled.oldest_waiting_at) == (None, None)
    write(path, list(zip([4.0, 3.0, 2.0, 1.0], receipts(4), strict=True)))
    unsettled.take(path.name, read_piece(path, 0, 10), ["unknown", "waits", "unseen", "waits"])
    assert (unsettled.oldest_unknown_at, unsettled.oldest_waiting_at) == (2.0, 1.0)
    assert (unsettled.unknown, unsettled.waiting) == (2, 2)
