"""Drills by their own command, in a short form: faults that happen, are held, are undone, and cost no order."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.drills.conftest import Demonstration

WELL_TIMEOUT_S = 150.0
RUN_TIMEOUT_S = 240.0
FAULT_TIMEOUT_S = 120.0
POLL_S = 0.3
NETWORK = "127.0.25"
LONG_HOLD = ("--hold", "600")

SHORT = ("both-standbys-dead", "journal-full", "supervisors-die")
"""Drills whose faults are over in seconds, and which nothing else shows. The demonstration is the crash of the primary;
a standby is dead below."""


def services(demonstration: Demonstration) -> dict[str, dict[str, Any]]:
    """What status says of each NODE/SERVICE."""
    status = json.loads(demonstration.standfest("status", "--json", timeout_s=60).stdout)
    return {f"{node['name']}/{each['name']}": each for node in status["nodes"] for each in node["services"]}


def until(what: str, holds: Callable[[], bool], timeout_s: float) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s until {what}"
        time.sleep(POLL_S)


def until_well(demonstration: Demonstration) -> None:
    """Waits until nothing is wrong with the cluster."""
    until("all is well", lambda: demonstration.standfest("status", timeout_s=60).returncode == 0, WELL_TIMEOUT_S)


@contextlib.contextmanager
def drill_under_way(home: Path, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A drill that runs, until the fault is in; killed where the block leaves it running."""
    command = [sys.executable, "-m", "standfest", "drill", "run", *arguments, "--rate", "15", "--seconds", "3"]
    said = home.with_name(f"{home.name}.drill.err")  # beside it: a folder that holds anything else is refused as a home
    with said.open("wb") as log:
        drill = subprocess.Popen(
            command, env={**os.environ, "STANDFEST_HOME": str(home)}, stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        until(
            f"{arguments[0]} has begun",
            lambda: "under the fault" in said.read_text() or drill.poll() is not None,
            FAULT_TIMEOUT_S,
        )
        assert drill.poll() is None, said.read_text()
        yield drill
    finally:
        drill.kill()
        drill.wait()


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_costs_no_order(demonstration: Demonstration, name: str) -> None:
    """The fault happens and is undone, all is well again, and nothing was lost, doubled, altered or failed."""
    until_well(demonstration)
    ended = demonstration.standfest(
        *("drill", "run", name, "--here", "--yes", "--json", "--seconds", "6", "--rate", "15", "--hold", "3"),
        timeout_s=RUN_TIMEOUT_S,
    )
    [told] = json.loads(ended.stdout)["results"]
    assert told["errors"] == [], ended.stderr
    assert {kind: told[kind] for kind in ("lost", "doubled", "altered", "failed")} == dict.fromkeys(
        ("lost", "doubled", "altered", "failed"), 0
    ), told["checked"]["findings"]
    assert (told["ok"], ended.returncode) == (True, 0)
    assert told["acknowledged"] > 30
    assert told["proof"]
    if name == "both-standbys-dead":
        assert told["accepted_by_journal"] > 0


def test_what_an_interrupted_drill_held_is_let_go(demonstration: Demonstration) -> None:
    """Where a drill that holds a standby down is told to end, the hold is gone and the standby is there again."""
    until_well(demonstration)
    with drill_under_way(demonstration.home, "standby-dead", "--here", "--yes", *LONG_HOLD) as drill:
        until("a standby is held", lambda: bool(held(demonstration)), FAULT_TIMEOUT_S)
        drill.send_signal(signal.SIGTERM)
        drill.wait(timeout=FAULT_TIMEOUT_S)
    until("nothing is held", lambda: not held(demonstration), WELL_TIMEOUT_S)
    until_well(demonstration)


def test_nothing_is_broken_without_a_word(demonstration: Demonstration) -> None:
    """Drills on the cluster that is up ask for its name first, and so does a demonstration where others use it."""
    refused = demonstration.standfest("drill", "run", "primary-crash", "--here", typed="another\n")
    assert refused.returncode == 1
    assert "nothing was broken" in refused.stderr
    scope = ("--scope", "orders:read")
    assert demonstration.standfest("client", "add", "somebody", *scope).returncode == 0
    refused = demonstration.standfest("demo", typed="another\n", timeout_s=120)
    assert refused.returncode == 1
    assert "it was up already, and has clients: somebody" in refused.stderr.lower()


def held(demonstration: Demonstration) -> list[str]:
    """The services that are held down on purpose."""
    return [name for name, each in services(demonstration).items() if each["held"]]


def test_a_killed_drill_takes_its_own_cluster_down(tmp_path: Path) -> None:
    """A cluster that a drill made for itself does not outlive it, not even when a node stands still just then."""
    home = tmp_path.resolve() / "home"
    with drill_under_way(home, "node-freezes", "--network", NETWORK, *LONG_HOLD) as drill:
        until("a node stands still", lambda: "T" in states(home), FAULT_TIMEOUT_S)
        drill.kill()
    until("nothing runs any more", lambda: not states(home), WELL_TIMEOUT_S)


def states(home: Path) -> str:
    """The states of all processes whose command lines name this home, the guard aside."""
    found = ""
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(home) in command and "guard" not in command:
            found += "T" if process.info["status"] == psutil.STATUS_STOPPED else "R"
    return found
