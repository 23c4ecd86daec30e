"""The history file: what is written comes back, and only a torn end is forgiven."""

import os
from pathlib import Path

import pytest

from standfest.emergency.drills.checker.model import CheckerError
from standfest.emergency.drills.checker.submissions import load
from standfest.emergency.drills.history import FORMAT, HistoryBroken, HistoryWriter, read_history


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """Each event is in the file as soon as it is written, in order, with both clocks."""
    path = tmp_path / "new" / "drill.jsonl"
    with HistoryWriter(path) as history:
        history.write("note", t=1.5, what="start", format=FORMAT, client="demo")
        history.write("ok", key="k", gross="3.50", name="Übung")
        before_close = list(read_history(path))
    assert list(read_history(path)) == before_close
    start, ok = before_close
    assert (start["t"], start["op"], start["client"]) == (1.5, "note", "demo")
    assert (ok["op"], ok["gross"], ok["name"]) == ("ok", "3.50", "Übung")
    assert ok["wall"].endswith("Z")


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """A history may hold customers' data: mode 0600."""
    path = tmp_path / "drill.jsonl"
    HistoryWriter(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_writers_share_a_file(tmp_path: Path) -> None:
    """The traffic and the drill append to one file without breaking each other's lines."""
    path = tmp_path / "drill.jsonl"
    with HistoryWriter(path) as traffic, HistoryWriter(path) as drill:
        for number in range(100):
            traffic.write("ok", key=f"t{number}", filler="x" * 5000)
            drill.write("note", what=f"d{number}")
    assert len(list(read_history(path))) == 200


def test_a_torn_end_is_forgiven(tmp_path: Path) -> None:
    """A writer that was killed in its last line leaves a history that both readers read up to there."""
    path = tmp_path / "drill.jsonl"
    with HistoryWriter(path) as history:
        history.write("note", what="start", format=FORMAT, client="demo")
        history.write("ok", key="k")
    os.truncate(path, path.stat().st_size - 3)
    assert [entry["op"] for entry in read_history(path)] == ["note"]
    assert load(path).submissions == []
    assert load(path).gaps


def test_a_line_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    """The checker says which file it cannot judge by, and does not judge it in part."""
    path = tmp_path / "drill.jsonl"
    with HistoryWriter(path) as history:
        history.write("note", what="start", format=FORMAT, client="demo")
        history.write("invoke", nonce="n")
    with pytest.raises(CheckerError, match=r"drill\.jsonl has a line"):
        load(path)


def test_a_broken_middle_is_refused(tmp_path: Path) -> None:
    """A line that is broken anywhere else means that the file was changed: neither reader goes on."""
    path = tmp_path / "drill.jsonl"
    path.write_bytes(b'{"op":"note","what":"start","format":2,"client":"demo"}\n{"op":\n{"op":"note","what":"end"}\n')
    with pytest.raises(HistoryBroken, match="line 2"):
        list(read_history(path))
    with pytest.raises(CheckerError, match="line 2"):
        load(path)
