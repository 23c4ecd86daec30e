"""The process of the busy loops."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from standfest.emergency import loops
from standfest.emergency.drills import processes

TIMEOUT_S = 20.0
START_S = 1.0
"""Processor time that a loop takes at most before its time begins to count."""


@pytest.fixture
def program() -> Iterator["subprocess.Popen[bytes]"]:
    """It runs until the test ends it."""
    command = [sys.executable, "-m", loops.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def ask(process: "subprocess.Popen[bytes]", **line: Any) -> dict[str, Any]:
    """What it answers to a line."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(line).encode() + b"\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def start(process: "subprocess.Popen[bytes]", share: float, seconds: float) -> list[processes.Process]:
    """Loops on one core."""
    answer = ask(process, share=share, cores=[min(os.sched_getaffinity(0))], seconds=seconds)
    if "error" in answer:
        pytest.skip("this user may not have real-time priority")
    return [processes.identify(pid) for pid in answer["loops"]]


def test_loops_end_with_who_asked_for_them(program: "subprocess.Popen[bytes]") -> None:
    """Where the input ends no loop is left, and neither is their process."""
    [loop] = start(program, 0.02, 60.0)
    assert processes.is_running(loop)
    assert program.stdin is not None
    program.stdin.close()
    assert program.wait(TIMEOUT_S) == 0
    assert processes.wait_gone(loop, TIMEOUT_S)


def test_loops_end_with_their_process(program: "subprocess.Popen[bytes]") -> None:
    """Where the process is killed no loop is left."""
    [loop] = start(program, 0.02, 60.0)
    program.kill()
    assert processes.wait_gone(loop, TIMEOUT_S)


def test_loops_end_in_time(program: "subprocess.Popen[bytes]") -> None:
    """They run no longer than they were to, the answer says so, and there can be others afterwards."""
    [loop] = start(program, 0.02, 0.05)
    assert processes.wait_gone(loop, TIMEOUT_S)
    assert ask(program)["whole"] is False
    [loop] = start(program, 0.02, 60.0)
    told = ask(program)
    assert told["whole"] is True
    assert 0 <= told["processor_s"] < START_S + told["seconds"]
    assert not processes.is_running(loop)
