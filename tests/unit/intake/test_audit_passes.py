"""A full pass over receipts says which files it could not read."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from standfest.intake.audit import passes
from standfest.intake.audit.faults import Faults
from standfest.intake.audit.files import Piece
from standfest.intake.audit.findings import Findings
from standfest.intake.audit.follow import Follower
from standfest.intake.audit.looks import Looks
from standfest.intake.audit.passes import ReceiptsPass
from standfest.intake.audit.suspects import Suspects
from tests.unit.intake.test_audit_unsettled import FindsAll, receipts, write


async def test_a_file_that_a_pass_cannot_read_is_a_fault_until_one_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all of it was read before: nobody else opens it then. What is gone by the next pass is none."""
    looks, faults = cast("Looks", FindsAll()), Faults()
    follower = Follower(tmp_path, looks, Findings(), faults)
    all_receipts = ReceiptsPass(tmp_path, looks, Suspects(looks, Findings()), follower, faults)
    paths = [tmp_path / f"api-1-20260101T000000.000000Z-000{number}.jsonl" for number in (1, 2)]
    for path in paths:
        write(path, [(1.0, each) for each in receipts(2)])
    while await follower.read():
        pass

    def refuse(path: Path, *rest: int) -> Piece:
        raise PermissionError(13, "Permission denied")

    async def whole_pass() -> None:
        all_receipts.passed_at = None
        while all_receipts.passed_at is None:
            assert await all_receipts.step()

    with monkeypatch.context() as unreadable:
        unreadable.setattr(passes, "read_piece", refuse)
        await whole_pass()
        await follower.read()
    assert faults.counts() == {"receipts_unreadable": 2}
    assert not all_receipts.audited
    paths[1].unlink()
    await whole_pass()
    assert faults.counts() == {}
    assert all_receipts.audited == paths[:1]
