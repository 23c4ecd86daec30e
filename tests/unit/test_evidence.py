"""What parts said of their data, found in their logs."""

import datetime
from pathlib import Path

import pytest

from standfest.cluster.evidence import damage, too_far_behind

NOW = datetime.datetime(2031, 5, 4, 10, 0, 30, tzinfo=datetime.UTC)
SAID = (
    "FATAL:  could not receive data from WAL stream: "
    "ERROR:  requested WAL segment 000000010000000000000003 has already been removed"
)


def test_a_standby_says_that_it_is_too_far_behind(tmp_path: Path) -> None:
    """PostgreSQL's words count for a minute, whatever was written after them and in older files."""
    assert too_far_behind(tmp_path, NOW) == ""
    log = tmp_path / "postgres-20310504T100000.log"
    log.write_text(f"2031-05-04 10:00:00.123 UTC [7] {SAID}\n2031-05-04 10:00:01.000 UTC [8] LOG:  something else\n")
    assert too_far_behind(tmp_path, NOW) == "requested WAL segment 000000010000000000000003 has already been removed"
    assert too_far_behind(tmp_path, NOW + datetime.timedelta(seconds=31)) == ""
    assert too_far_behind(tmp_path, NOW, since=NOW - datetime.timedelta(seconds=10)) == ""


@pytest.mark.parametrize(
    "line",
    [
        '{"level":"fatal","msg":"discovery failed","error":"walpb: crc mismatch"}',
        '{"level":"fatal","msg":"discovery failed","error":"proto: Record: illegal tag 0 (wire type 2)"}',
        '{"level":"fatal","msg":"discovery failed","error":"wal: max entry size limit exceeded"}',
        '{"level":"panic","msg":"failed to open database","error":"invalid database"}',
        "panic: freepages: failed to get all reachable pages (page 88: multiple references)",
        "panic: tocommit(308) is out of range [lastIndex(102)]. Was the raft log corrupted, truncated, or lost?",
        "panic: cannot use none as id",
        "unexpected fault address 0x7f8b34118000",
    ],
)
def test_a_member_says_that_its_data_is_damaged(tmp_path: Path, line: str) -> None:
    """What etcd 3.4 said after a byte of its log or file was another, or either was cut off, is recognised."""
    log = tmp_path / "etcd.log"
    log.write_text(f"{line}\n\ngoroutine 1 [running]:\n")
    assert damage(log) == line


@pytest.mark.parametrize(
    "line",
    [
        '{"level":"info","msg":"starting an etcd server","initial-corrupt-check":false}',
        '{"level":"fatal","msg":"discovery failed","error":"listen tcp 127.0.0.1:1: bind: address already in use"}',
        '{"level":"warn","msg":"lost TCP streaming connection with remote peer","error":"unexpected EOF"}',
        '{"level":"panic","msg":"failed to open","error":"no space left on device"}\npanic: failed to open',
        '{"level":"fatal","msg":"discovery failed","error":"member 4a7f5955cc4333cc has already been bootstrapped"}',
    ],
)
def test_what_says_nothing_of_its_data_is_no_damage(tmp_path: Path, line: str) -> None:
    """A member that ends for another reason keeps its data."""
    log = tmp_path / "etcd.log"
    log.write_text(f"{line}\n")
    assert damage(log) == ""
    assert damage(tmp_path / "nothing.log") == ""


def test_its_last_words_count(tmp_path: Path) -> None:
    """A member that was damaged once, and ends for another reason today, keeps its data."""
    log = tmp_path / "etcd.log"
    log.write_text(
        '{"level":"fatal","error":"walpb: crc mismatch"}\n{"level":"fatal","error":"listen: already in use"}\n'
    )
    assert damage(log) == ""
