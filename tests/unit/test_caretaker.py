"""What the caretaker keeps of the logs of a node's programs."""

from pathlib import Path

from standfest.cluster.caretaker import PROGRAM_LOG_BYTES_MAX, turn_over_logs
from standfest.cluster.home import NodeHome

FULL = b"x" * PROGRAM_LOG_BYTES_MAX


def test_a_programs_log_begins_anew_once_it_is_long(tmp_path: Path) -> None:
    """A program goes on in the same file, which never gets longer than its bound, and the two before are kept."""
    home = NodeHome(tmp_path)
    home.create()
    log = home.logs / "etcd.log"
    with log.open("ab", buffering=0) as program:
        for number in b"1234":
            program.write(FULL)
            turn_over_logs(home)
            assert log.read_bytes() == FULL
            program.write(bytes([number]))
            turn_over_logs(home)
            assert log.read_bytes() == b""
    kept = {file.name: file.read_bytes()[-1:] for file in home.logs.iterdir() if file != log}
    assert kept == {"etcd.log.1": b"4", "etcd.log.2": b"3"}


def test_other_logs_are_left_to_those_who_keep_them(tmp_path: Path) -> None:
    """PostgreSQL's log and supervisor's own are no program's."""
    home = NodeHome(tmp_path)
    home.create()
    for name in ("postgres-20261130T100000.log", "supervisor.log", "restarter.log"):
        (home.logs / name).write_bytes(FULL + b"x")
    turn_over_logs(home)
    assert {file.stat().st_size for file in home.logs.iterdir()} == {PROGRAM_LOG_BYTES_MAX + 1}
