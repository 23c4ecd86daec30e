"""What the caretaker keeps of the logs of a node's programs."""

import threading
from pathlib import Path

import pytest

from standfest.cluster import caretaker
from standfest.cluster.caretaker import PROGRAM_LOG_BYTES_MAX, look_after, take_steps, turn_over_logs
from standfest.cluster.home import NodeHome
from standfest.cluster.symptoms import Symptoms

FULL = b"x" * PROGRAM_LOG_BYTES_MAX
DEADLINE_S = 30.0


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


def test_a_log_that_cannot_be_kept_leaves_the_others_bounded(tmp_path: Path) -> None:
    """Where one log cannot be copied it begins anew all the same, and so does every other one."""
    home = NodeHome(tmp_path)
    home.create()
    for name in ("door.log", "etcd.log", "worker.log"):
        (home.logs / name).write_bytes(FULL + b"x")
        (home.logs / f"{name}.1").mkdir()
        (home.logs / f"{name}.2").mkdir()
        (home.logs / f"{name}.2" / "in the way").touch()
    turn_over_logs(home)
    assert {(home.logs / name).stat().st_size for name in ("door.log", "etcd.log", "worker.log")} == {0}


def test_a_step_that_fails_keeps_no_other_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong in one step is logged, and the next one is taken."""
    taken = []

    def fails(_: NodeHome) -> None:
        raise ValueError("as nobody expected")

    def goes_well(home: NodeHome) -> None:
        taken.append(home)

    take_steps(NodeHome(tmp_path), (fails, goes_well))
    assert taken == [NodeHome(tmp_path)]
    assert "fails failed" in caplog.text


def test_logs_are_turned_over_while_copies_are_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a mender takes, a program's log is bounded."""
    home = NodeHome(tmp_path)
    home.create()
    mends, turned, never = threading.Event(), threading.Event(), threading.Event()

    def turn(_: NodeHome) -> None:
        if mends.is_set():
            turned.set()
            never.wait()  # both threads do nothing after this test

    def mend(_: NodeHome) -> None:
        mends.set()
        never.wait()

    monkeypatch.setattr(caretaker, "EVERY_S", 0.01)
    monkeypatch.setattr(caretaker, "look", lambda *_: Symptoms(("etcd has no data",)))
    monkeypatch.setattr(caretaker, "turn_over_logs", turn)
    monkeypatch.setattr(caretaker, "_mend", mend)
    look_after(home, lambda _: ())
    assert turned.wait(DEADLINE_S)
