"""How a member of etcd is started: with the data that it had, and without a tie to its supervisor."""

import os
import subprocess
import sys
from pathlib import Path

from standfest.cluster.commands import member_start


def start(directory: Path) -> tuple[int, str]:
    """Start a stand-in for etcd, which says what it was given, as supervision would: exit code, and what was logged."""
    log = directory / "log"
    log.unlink(missing_ok=True)
    command = member_start(log, directory / "mark", directory / "data", Path("/bin/echo"), ["started", "--config-file"])
    ended = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert ended.stdout + ended.stderr == b""
    return ended.returncode, log.read_text()


def test_a_member_that_had_data_does_not_start_without_it(tmp_path: Path) -> None:
    """New, or with its log, it starts; once it had data and has none, it says so and does not."""
    wal = tmp_path / "data" / "member" / "wal"
    assert start(tmp_path) == (0, "started --config-file\n")
    wal.mkdir(parents=True)
    (tmp_path / "mark").touch()
    code, said = start(tmp_path)
    assert code == 1
    assert f"{tmp_path / 'data'} held a member of etcd and is empty" in said
    (wal / "0.wal").touch()
    assert start(tmp_path) == (0, "started --config-file\n")


def test_a_member_outlives_its_supervisor(tmp_path: Path) -> None:
    """What a program says goes into its log whether or not anybody reads the output that it was started with."""
    log = tmp_path / "log"
    # Python reports a failure to write, as etcd would be killed by it.
    say = "import sys; sys.stdin.read(); sys.stdout.write('said'); sys.stdout.flush()"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody_reads:
        command = member_start(log, tmp_path / "mark", tmp_path / "data", Path(sys.executable), ["-c", say])
        assert (
            subprocess.run(command, stdout=nobody_reads, stderr=nobody_reads, timeout=30, check=False).returncode == 0
        )
    assert log.read_text() == "said"
