"""The guard of a drill: what it was told of is undone, however the drill ends."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from standfest.cluster.home import Home
from standfest.emergency.drills import processes
from standfest.emergency.drills.guard import RUN_PAUSE_S, Guard, GuardBusy, GuardLost

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

KILLED = """
import os, signal, sys
from pathlib import Path
from standfest.emergency.drills.guard import Guard
with Guard(Path(sys.argv[1])) as guard:
    guard.announce([sys.executable, "-c", sys.argv[2]])
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""A drill that is killed with something to undo."""

UP = """
import pathlib, sys, time
print("begun", file=sys.stderr, flush=True)
pathlib.Path(sys.argv[1], "begun").touch()
while not pathlib.Path(sys.argv[1], "go-on").exists():
    time.sleep(0.02)
for stream in (sys.stdout, sys.stderr):
    print("going on", file=stream, flush=True)
pathlib.Path(sys.argv[1], "ended").touch()
"""
"""Stands in for `up`, which says what it does on both streams, and comes to its end."""

KILLED_IN_UP = """
import asyncio, sys
from types import SimpleNamespace
from standfest.emergency.drills.catalogue.supervisors import _up
asyncio.run(_up(SimpleNamespace(undoing=lambda *_: [sys.executable, "-c", sys.argv[1], sys.argv[2]])))
"""
"""A drill that runs `up`."""


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


def test_what_is_gone_with_its_cluster_is_not_undone(tmp_path: Path) -> None:
    """What was announced since a number is dropped together, done or not, and what was announced before is kept."""
    log, undone = tmp_path / "guard.log", tmp_path / "undone"
    with Guard(log) as guard:
        numbers = [
            guard.announce([sys.executable, "-c", f"open({str(undone)!r}, 'a').write({word!r})"]) for word in "abc"
        ]
        guard.drop(numbers[2])
        guard.announce([sys.executable, "-c", "raise SystemExit(1)"])
        guard.drop_from(numbers[1])
    assert undone.read_text() == "a"


def test_what_fails_is_tried_again_and_does_not_keep_the_rest(tmp_path: Path) -> None:
    """A command that fails is tried for a bounded time, and what was announced before it is still undone."""
    log, undone = tmp_path / "guard.log", tmp_path / "undone"
    with Guard(log, run_for_s=RUN_PAUSE_S) as guard:
        guard.announce([sys.executable, "-c", f"open({str(undone)!r}, 'w')"])
        guard.announce([sys.executable, "-c", "raise SystemExit('busy')"])
    assert log.read_text().count("ended with 1 busy") == 2
    assert undone.exists()


def test_what_meets_another_command_is_undone_once_that_has_ended(tmp_path: Path) -> None:
    """A command that is refused at once as long as another one changes the cluster is tried until it is not."""
    log, home = tmp_path / "guard.log", Home(tmp_path)
    command = f"from {Home.__module__} import Home, Path; Home(Path({str(tmp_path)!r})).locked().__enter__()"
    with contextlib.ExitStack() as other:
        other.enter_context(home.locked())
        with Guard(log) as guard:
            guard.announce([sys.executable, "-c", command])
            threading.Timer(2.5 * RUN_PAUSE_S, other.pop_all().close).start()
    told = log.read_text().splitlines()
    assert "another standfest command is changing the cluster" in told[0]
    assert [line.rpartition("ended with ")[2][0] for line in told] == ["1"] * (len(told) - 1) + ["0"]


def test_a_drill_waits_until_the_one_before_is_undone(tmp_path: Path) -> None:
    """While a guard undoes what a drill has left, the next drill waits, and is refused where that takes too long."""
    log, begun, go_on = tmp_path / "guard.log", tmp_path / "begun", tmp_path / "go-on"
    slow = f"import os, pathlib\npathlib.Path({str(begun)!r}).touch()\nwhile not os.path.exists({str(go_on)!r}): pass"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(log), slow]) as drill:
        until(begun.exists, "nothing is undone")
        assert drill.wait() == -signal.SIGKILL
    with pytest.raises(GuardBusy, match=r"wait for that to end, see .*guard\.log"), Guard(log, wait_s=0.5):
        pass
    threading.Timer(0.5, go_on.touch).start()
    with Guard(log):
        assert "ended with 0" in log.read_text()


def test_what_a_killed_drill_had_started_comes_to_its_end(tmp_path: Path) -> None:
    """An `up` whose drill is killed goes on to its end, though nobody reads what it says any more."""
    with subprocess.Popen([sys.executable, "-c", KILLED_IN_UP, UP, str(tmp_path)]) as drill:
        until((tmp_path / "begun").exists, "it did not begin")
        drill.kill()
    (tmp_path / "go-on").touch()
    until((tmp_path / "ended").exists, "it did not come to its end")


def test_a_guard_that_is_gone_is_noticed_before_anything_is_done(tmp_path: Path) -> None:
    """Without its guard a drill does nothing that would have to be undone."""
    with Guard(tmp_path / "guard.log") as guard:
        for child in processes.descendants(processes.identify(os.getpid())):
            if b"drills.guard" in Path(f"/proc/{child.pid}/cmdline").read_bytes():
                processes.send(child, signal.SIGKILL)
                assert processes.wait_gone(child, DEADLINE_S)
        with pytest.raises(GuardLost, match="guard is gone"):
            guard.announce(["true"])
