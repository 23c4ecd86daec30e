"""The guard of a drill: what it was told of is undone, however the drill ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from standfest.emergency.drills import processes
from standfest.emergency.drills.guard import Guard, GuardLost

DEADLINE_S = 15.0

DRILL = """
import sys
from pathlib import Path
from standfest.emergency.drills.guard import Guard
with Guard(Path(sys.argv[1])) as guard:
    numbers = [guard.announce([sys.executable, "-c", f"open({sys.argv[2]!r}, 'a').write('{word} ')"]) for word in "abc"]
    guard.drop(numbers[1])
    print("ready", flush=True)
    sys.stdin.read()
"""
"""A drill that has done three things, has undone one of them, and hangs."""


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_what_a_killed_drill_left_is_undone_the_latest_first(tmp_path: Path) -> None:
    """After SIGKILL of the drill its guard runs what was announced and not dropped, in reverse, and logs it."""
    log, undone = tmp_path / "guard.log", tmp_path / "undone"
    arguments = [sys.executable, "-c", DRILL, str(log), str(undone)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as drill:
        assert drill.stdout is not None
        assert drill.stdout.readline() == b"ready\n"
        drill.kill()
    until(lambda: log.exists() and log.read_text().count("ended with 0") == 2, "the guard did not undo both")
    assert undone.read_text() == "c a "


def test_a_drill_that_ends_well_leaves_nothing_to_undo(tmp_path: Path) -> None:
    """What was dropped is not run, and the guard is gone with the drill."""
    with Guard(tmp_path / "guard.log") as guard:
        guard.drop(guard.announce([sys.executable, "-c", "raise SystemExit(1)"]))
    assert not (tmp_path / "guard.log").exists()


def test_what_fails_is_tried_again_and_does_not_keep_the_rest(tmp_path: Path) -> None:
    """A command that fails is tried a bounded number of times, and what was announced before it is still undone."""
    log, undone = tmp_path / "guard.log", tmp_path / "undone"
    with Guard(log) as guard:
        guard.announce([sys.executable, "-c", f"open({str(undone)!r}, 'w')"])
        guard.announce([sys.executable, "-c", "raise SystemExit('busy')"])
    assert log.read_text().count("ended with 1 busy") == 3
    assert undone.exists()


def test_a_guard_that_is_gone_is_noticed_before_anything_is_done(tmp_path: Path) -> None:
    """Without its guard a drill does nothing that would have to be undone."""
    with Guard(tmp_path / "guard.log") as guard:
        for child in processes.descendants(processes.identify(os.getpid())):
            if b"drills.guard" in Path(f"/proc/{child.pid}/cmdline").read_bytes():
                processes.send(child, signal.SIGKILL)
                assert processes.wait_gone(child, DEADLINE_S)
        with pytest.raises(GuardLost, match="guard is gone"):
            guard.announce(["true"])
