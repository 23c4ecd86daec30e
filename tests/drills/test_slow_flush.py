"""A program whose flushes are delayed, on the test's own processes and files."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from standfest.emergency.drills import slow_flush

TIMEOUT_S = 30.0
DELAY_S = 0.3
PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: None)
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for _ in sys.stdin:
    began = time.monotonic()
    os.fsync(file)
    print(time.monotonic() - began, flush=True)
"""


@pytest.fixture
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path: a socket's has at most 107 characters."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def program(sockets: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """It flushes for each line that it gets, and says how long that took."""
    command = [sys.executable, "-m", slow_flush.__name__, str(sockets / "s"), str(tmp_path)]
    own = [sys.executable, "-c", PROGRAM, str(tmp_path / "file")]
    with subprocess.Popen([*command, *own], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def connected(program: "subprocess.Popen[bytes]", sockets: Path) -> Iterator[socket.socket]:
    """Whoever says how long flushes are delayed."""
    assert flushed_s(program) >= 0  # it was started, and with it who waits at the socket
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(sockets / "s"))
        yield connection


def flushed_s(process: "subprocess.Popen[bytes]") -> float:
    """How long a flush of the program took."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def ask(connection: socket.socket, **line: float) -> dict[str, Any]:
    """What is answered to a line."""
    connection.send(json.dumps(line).encode() + b"\n")
    answer: dict[str, Any] = json.loads(connection.recv(4096))
    return answer


def test_flushes_are_delayed_and_measured(program: "subprocess.Popen[bytes]", connected: socket.socket) -> None:
    """Each flush of the program takes at least the delay, and so does each that is measured beside it."""
    assert ask(connected, delay_s=DELAY_S) == {"delay_s": DELAY_S}
    assert flushed_s(program) >= DELAY_S
    assert ask(connected, measure=3)["median_s"] >= DELAY_S


def test_without_a_connection_nothing_is_delayed(program: "subprocess.Popen[bytes]", connected: socket.socket) -> None:
    """Where whoever asked for the delay is gone, the program goes on without it, also in a flush that waits already."""
    ask(connected, delay_s=3600.0)
    connected.close()
    assert flushed_s(program) >= 0


def test_nothing_is_left_of_it(program: "subprocess.Popen[bytes]", connected: socket.socket, sockets: Path) -> None:
    """When the program has ended and the connection as well, no process is left."""
    connected.close()
    assert program.stdin is not None
    program.stdin.close()
    assert program.wait(TIMEOUT_S) == 0
    deadline = time.monotonic() + TIMEOUT_S
    while any(str(sockets) in " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_signals_do_not_make_a_flush_begin_anew(program: "subprocess.Popen[bytes]", connected: socket.socket) -> None:
    """A program that is sent signals all the time waits no longer than the delay."""
    ask(connected, delay_s=DELAY_S)
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(b"\n")
    program.stdin.flush()
    os.set_blocking(program.stdout.fileno(), False)
    deadline = time.monotonic() + TIMEOUT_S
    while not (line := program.stdout.readline()):
        assert time.monotonic() < deadline
        program.send_signal(signal.SIGUSR1)
        time.sleep(DELAY_S / 10)
    assert float(line) >= DELAY_S
