"""Fail points in a real process under the event loop that the order plane's processes use."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

PROGRAM = """\
import asyncio, sys
from pathlib import Path
import uvloop
from standfest.telemetry import failpoints
from standfest.telemetry.logs import configure_logs

async def main():
    configure_logs()
    failpoints.install(Path(sys.argv[1]))
    print("installed", flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        failpoints.reach(line.decode().strip())
        print("passed", flush=True)

uvloop.run(main())
"""
ARMED, REFUSED = "FAIL POINTS ARMED", "fail points refused"
POINT, OTHER = "drain.committed", "journal.created"
ENDS_WITHIN_S = 20


class Reacher:
    """A process that reaches the fail points it is told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def reach(self, name: str) -> bool:
        """Whether the process lived on after reaching `name`."""
        _stream(self.process.stdin).write(name + "\n")
        _stream(self.process.stdin).flush()
        if _stream(self.process.stdout).readline() == "passed\n":
            return True
        assert self.process.wait(ENDS_WITHIN_S) == -signal.SIGKILL
        return False

    def read_file(self) -> str:
        """Lets the process read its file; what it logs then."""
        self.process.send_signal(signal.SIGUSR1)
        return str(json.loads(_stream(self.process.stderr).readline())["event"])


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@contextmanager
def reacher(file: Path) -> Iterator[Reacher]:
    """A process whose fail points are in `file`."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PROGRAM, str(file)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert _stream(process.stdout).readline() == "installed\n"
            yield Reacher(process)
        finally:
            process.kill()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the process looks for its fail points; arms one of them."""
    file = tmp_path / "failpoints"
    write(file, POINT)
    return file


def write(file: Path, text: str, mode: int = 0o600) -> None:
    """Writes the file with this mode."""
    file.write_text(text, encoding="ascii")
    file.chmod(mode)


def test_an_armed_point_kills_at_once(file: Path) -> None:
    """A process passes every point until it is told to read its file, then dies at the one that is armed."""
    with reacher(file) as process:
        assert process.reach(POINT)
        assert process.read_file().startswith(ARMED)
        assert process.reach(OTHER)
        assert not process.reach(POINT)


def test_a_point_kills_at_the_time_it_is_told(file: Path) -> None:
    """`after=3` lets a process pass twice."""
    write(file, f"{POINT} after=3\n")
    with reacher(file) as process:
        process.read_file()
        assert [process.reach(POINT) for _ in range(3)] == [True, True, False]


def test_a_new_process_is_not_armed(file: Path) -> None:
    """The file alone arms nothing: whoever is started again lives on."""
    with reacher(file) as process:
        process.read_file()
        assert not process.reach(POINT)
    with reacher(file) as process:
        assert process.reach(POINT)


def test_an_empty_file_disarms(file: Path) -> None:
    """Reading the file again replaces what was armed."""
    with reacher(file) as process:
        process.read_file()
        write(file, "")
        process.read_file()
        assert process.reach(POINT)


@pytest.mark.parametrize("text", ["no.such-point", f"{POINT}\nno.such-point", f"{POINT} after=0", f"{POINT} {OTHER}"])
def test_a_line_that_is_none_arms_nothing(file: Path, text: str) -> None:
    """Where one line is not understood, the whole file is refused, loudly."""
    write(file, text)
    with reacher(file) as process:
        assert process.read_file().startswith(REFUSED)
        assert process.reach(POINT)


def test_a_file_that_others_could_write_is_refused(file: Path) -> None:
    """Neither a file that others may read or write, nor a link, nor a missing one arms anything."""
    with reacher(file) as process:
        write(file, POINT, mode=0o620)
        assert process.read_file().startswith(REFUSED)
        write(file, POINT)
        file.rename(file.with_name("elsewhere"))
        assert process.read_file().startswith(REFUSED)
        file.symlink_to("elsewhere")
        assert process.read_file().startswith(REFUSED)
        assert process.reach(POINT)


def test_a_file_that_is_too_long_is_refused(file: Path) -> None:
    """A file is read to a limit only."""
    write(file, "\n" * 5000 + POINT)
    with reacher(file) as process:
        assert process.read_file().startswith(REFUSED)
