"""A member of etcd is not started without the data that it had."""

import subprocess
from pathlib import Path

from standfest.cluster.commands import member_start


def start(directory: Path) -> subprocess.CompletedProcess[str]:
    """Start a stand-in for etcd, which says what it was given, as supervision would."""
    command = member_start(directory / "mark", directory / "data", Path("/bin/echo"), ["started", "--config-file", "x"])
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_member_that_had_data_does_not_start_without_it(tmp_path: Path) -> None:
    """New, or with its log, it starts; once it had data and has none, it says so and does not."""
    wal = tmp_path / "data" / "member" / "wal"
    assert start(tmp_path).stdout == "started --config-file x\n"
    wal.mkdir(parents=True)
    (tmp_path / "mark").touch()
    refused = start(tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{tmp_path / 'data'} held a member of etcd and is empty" in refused.stderr
    (wal / "0.wal").touch()
    assert start(tmp_path).stdout == "started --config-file x\n"
