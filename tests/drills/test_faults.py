"""Faults against processes of the test's own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standfest.emergency.drills import faults, processes
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.guard import Guard
from standfest.emergency.drills.processes import Process, ProcessGone

DEADLINE_S = 10.0

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
"""
"""A process with a child; both end when the test closes the parent's input."""

FREEZER = """
import json, sys
from pathlib import Path
from standfest.emergency.drills import faults
from standfest.emergency.drills.guard import Guard
with Guard(Path(sys.argv[2])) as guard, faults.frozen(faults.primary(json.loads(sys.argv[1])), guard):
    print("frozen", flush=True)
    sys.stdin.read()
"""
"""A drill that freezes the primary and then hangs."""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child, as a postmaster is."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def status(pid: int | None, role: str = "primary") -> dict[str, Any]:
    """What `standfest status --json` would say of a cluster with one server."""
    service = {"name": "postgres", "state": "running", "pid": pid, "role": role, "address": "", "held": False}
    return {"nodes": [{"name": "n1", "address": "127.0.24.1", "services": [service]}]}


def wait_for_state(process: Process, letters: str) -> None:
    """Waits until the process is in one of these states."""
    deadline = time.monotonic() + DEADLINE_S
    while processes.state(process) not in letters:
        assert time.monotonic() < deadline, f"{process} is {processes.state(process)}, expected {letters}"
        time.sleep(0.01)


def test_kill_proves_itself(server: subprocess.Popen[bytes]) -> None:
    """After a kill the verified process is gone, and the same target cannot be hit again."""
    target = faults.primary(status(server.pid))
    faults.kill(target)
    assert not processes.is_running(target.process)
    with pytest.raises(ProcessGone):
        faults.kill(target)


def test_another_process_with_the_pid_is_spared(server: subprocess.Popen[bytes]) -> None:
    """A signal meant for an earlier process of that pid is not sent."""
    now = processes.identify(server.pid)
    earlier = Process(now.pid, now.start_ticks - 1)
    with pytest.raises(ProcessGone, match="belongs to another process"):
        processes.send(earlier, signal.SIGKILL)
    assert processes.is_running(now)
    assert not processes.is_running(earlier)


def test_freeze_stops_all_and_wakes_all(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Within the block the process and its child are stopped, after it they run on."""
    assert server.stdout is not None
    child = processes.identify(int(server.stdout.readline()))
    parent = processes.identify(server.pid)
    with Guard(tmp_path / "log") as guard, faults.frozen(faults.primary(status(server.pid)), guard) as victims:
        assert victims == [parent, child]
        wait_for_state(parent, "T")
        wait_for_state(child, "T")
    wait_for_state(parent, "SR")
    wait_for_state(child, "SR")


def test_freeze_ends_when_the_drill_is_killed(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A drill that dies by SIGKILL in the middle of a freeze leaves nothing frozen."""
    parent = processes.identify(server.pid)
    arguments = [sys.executable, "-c", FREEZER, json.dumps(status(server.pid)), str(tmp_path / "log")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as drill:
        assert drill.stdout is not None
        assert drill.stdout.readline() == b"frozen\n"
        wait_for_state(parent, "T")
        drill.kill()
    wait_for_state(parent, "SR")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (status(1, role="replica"), "found none"),
        (status(None), "has no process"),
        ({"nodes": status(1)["nodes"] * 2}, "found n1, n1"),
    ],
    ids=["no primary", "no pid", "two primaries"],
)
def test_a_primary_that_is_not_one(given: dict[str, Any], message: str) -> None:
    """Without exactly one running primary there is nothing to put a fault into."""
    with pytest.raises(FaultFailed, match=message):
        faults.primary(given)


def test_descendants_survive_odd_names(tmp_path: Path) -> None:
    """A command name with brackets and spaces does not shift the fields of /proc."""
    odd = tmp_path / "a) b (c"
    odd.symlink_to(sys.executable)
    with subprocess.Popen([odd, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        assert processes.state(processes.identify(process.pid)) in "SRD"
        process.kill()
