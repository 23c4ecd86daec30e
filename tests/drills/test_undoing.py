"""What the guard undoes by a command, and what is kept of a failed drill; on the tests' own processes and files."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfest.cli.grounds import LOGS_KEPT, keep_logs
from standfest.cluster.home import Home, NodeHome
from standfest.emergency.drills import processes

TIMEOUT_S = 20.0
WAITS = "import sys; print('up', flush=True); sys.stdin.read()"


def undo(*what: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command."""
    command = [sys.executable, "-m", "standfest.emergency.drills.undoing", *what]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.fixture
def program(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that was started with a configuration."""
    config = tmp_path / "second.toml"
    config.touch()
    command = [sys.executable, "-c", WAITS, "--config", str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def test_a_process_gets_its_files_back(program: "subprocess.Popen[bytes]") -> None:
    """The limit is what it was before, for exactly this process; one that is gone is no error."""
    soft, hard = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (7, hard))
    known = processes.identify(program.pid)
    assert undo("files", f"{known.pid}:{known.start_ticks - 1}", str(soft), str(hard)).returncode == 0
    assert resource.prlimit(program.pid, resource.RLIMIT_NOFILE)[0] == 7
    assert undo("files", str(known), str(soft), str(hard)).returncode == 0
    assert resource.prlimit(program.pid, resource.RLIMIT_NOFILE) == (soft, hard)


def test_a_node_gets_its_cores_back(program: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """Whatever runs of the node may run on these cores again, and nothing else is touched."""
    cores = sorted(os.sched_getaffinity(program.pid))
    home = NodeHome(tmp_path / "node")
    # It ends at the end of its input, and is recognised by its command line, as Patroni is.
    stand_in = tmp_path / "patroni.py"
    stand_in.write_text(WAITS)
    command = [sys.executable, "-m", "patroni", str(home.config / "patroni.json")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == b"up\n"
        os.sched_setaffinity(node.pid, cores[:1])
        os.sched_setaffinity(program.pid, cores[:1])
        assert undo("cores", str(home.root), ",".join(map(str, cores))).returncode == 0
        assert sorted(os.sched_getaffinity(node.pid)) == cores
        assert sorted(os.sched_getaffinity(program.pid)) == cores[:1]
        node.kill()


def test_a_program_of_the_drill_is_ended(program: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """What runs with exactly this configuration is killed, and the configuration is gone."""
    known, config = processes.identify(program.pid), tmp_path / "second.toml"
    assert undo("program", str(tmp_path / "second")).returncode == 0
    assert processes.is_running(known)
    assert undo("program", str(config)).returncode == 0
    assert processes.wait_gone(known, TIMEOUT_S)
    assert not config.exists()


def test_fail_points_are_disarmed_by_an_empty_file(tmp_path: Path) -> None:
    """The file is empty afterwards; a process that has died at its point is no error."""
    file = tmp_path / "failpoints"
    file.write_text("drain.committed\n", encoding="ascii")
    assert undo("fail-points", str(file), "1:1").returncode == 0
    assert file.read_text(encoding="ascii") == ""


def test_what_nobody_undoes_is_refused() -> None:
    """A command that it does not know is an error, so that the guard's log shows it."""
    assert undo("something").returncode != 0


def test_the_logs_of_a_failed_drill_are_kept(tmp_path: Path) -> None:
    """Each node's logs are copied under the run's name, and the oldest copies make room."""
    cluster, home = Home(tmp_path / "cluster"), Home(tmp_path)
    logs = cluster.root / "nodes" / "n1" / "logs"
    logs.mkdir(parents=True)
    (logs / "api.log").write_text("why", encoding="utf-8")
    kept = [keep_logs(cluster, home, f"r{number}") for number in range(LOGS_KEPT + 1)]
    assert (kept[-1] / "n1" / "api.log").read_text(encoding="utf-8") == "why"
    assert [each.exists() for each in kept] == [False] + [True] * LOGS_KEPT
