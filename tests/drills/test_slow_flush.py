"""A program whose flushes are delayed, on the test's own processes and files."""

import contextlib
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

BROKEN = f"""
from {slow_flush.__name__} import json, main
def fail(_):
    raise RuntimeError("nobody has thought of it")
json.loads = fail
main()
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


@pytest.fixture
def broken(sockets: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The same program, where who takes its flushes fails at one of them in a way that nobody has thought of."""
    own = [sys.executable, "-c", PROGRAM, str(tmp_path / "file")]
    command = [sys.executable, "-c", BROKEN, str(sockets / "s"), str(tmp_path), *own]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


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


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended it, with or without what it had not read."""
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(4096) == b""
    return True


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


def test_lines_that_come_together_are_answered_each(
    program: "subprocess.Popen[bytes]", connected: socket.socket
) -> None:
    """Two lines in one piece are two, and so are those of which the second one comes in two pieces."""
    assert flushed_s(program) < DELAY_S
    connected.sendall(b'{"delay_s": 0.1}\n{"measure": 1}\n{"measure": 1}\n{"delay')
    with connected.makefile("rb") as answers:
        assert json.loads(answers.readline()) == {"delay_s": 0.1}
        connected.sendall(b'_s": 0.0}\n')
        told = [json.loads(answers.readline()) for _ in range(3)]
    assert sorted(name for each in told for name in each) == ["delay_s", "median_s", "median_s"]


@pytest.mark.parametrize(
    "said",
    [b"what?\n", b"\xff\n", b"[1]\n", b"{}\n", b'{"delay_s": "long"}\n', b'{"measure": "much"}\n', b"0" * 10000],
)
def test_whoever_says_what_cannot_be_understood_delays_nothing(
    program: "subprocess.Popen[bytes]", connected: socket.socket, said: bytes
) -> None:
    """The connection ends, and the program's flushes go on without a delay: none fails, that which waits neither."""
    ask(connected, delay_s=3600.0)
    connected.sendall(said)
    assert flushed_s(program) >= 0
    assert has_ended(connected)
    assert flushed_s(program) >= 0


def test_whoever_is_gone_without_reading_delays_nothing(
    program: "subprocess.Popen[bytes]", connected: socket.socket
) -> None:
    """A connection that ends with answers on their way is as good as one that ends well."""
    connected.sendall(b'{"delay_s": 3600.0}\n' * 100)
    connected.close()
    assert flushed_s(program) >= 0
    assert flushed_s(program) >= 0


def test_what_nobody_has_thought_of_delays_nothing(broken: "subprocess.Popen[bytes]", sockets: Path) -> None:
    """Whatever goes wrong in the process that takes the flushes, they go on, as long as the program lives."""
    assert flushed_s(broken) >= 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(sockets / "s"))
        connection.sendall(b'{"delay_s": 0.0}\n')
        assert has_ended(connection)
    assert flushed_s(broken) >= 0


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
