"""The launcher in a folder of its own, with an apt, a sudo and a Python that only record what they are asked."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Stands in for .venv/bin/python: answers the launcher's questions, records the rest.
PYTHON = """#!/bin/sh
case "$*" in
*sys.prefix*) echo "{project}/.venv" ;;
*"pip --version"*) ;;
*"pip install"*) echo "$*" >>"{record}/pip" ;;
*) printf '%s\\n' "$PWD" "$@" >"{record}/handed-over"; echo answer ;;
esac
"""
# Installs what it is told by making the command of that name.
APT = """#!/bin/sh
echo "$*" >>"{record}/apt"
case "$*" in *--simulate*) exit 0 ;; esac
for word in "$@"; do
    case $word in part-*) cp "{bin}/cmd-one" "{bin}/cmd-${{word#part-}}" ;; esac
done
"""


@dataclass(frozen=True)
class Ended:
    """What a start left behind."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Machine:
    """A project folder (with a space in its path) and the programs that the launcher meets there."""

    project: Path
    programs: Path
    record: Path

    def launch(self, *arguments: str, cwd: Path | None = None, link: Path | None = None) -> subprocess.Popen[str]:
        """Start ./standfest (or a link to it) with nothing on PATH but the programs here and the system's own."""
        return subprocess.Popen(
            [str(link or self.project / "standfest"), *arguments],
            env={"PATH": f"{self.programs}:/usr/bin:/bin"},
            cwd=cwd or self.project,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, *arguments: str, cwd: Path | None = None, link: Path | None = None) -> Ended:
        """Launch and wait for the end."""
        process = self.launch(*arguments, cwd=cwd, link=link)
        stdout, stderr = process.communicate(timeout=30)
        return Ended(process.returncode, stdout, stderr)

    def program(self, name: str, text: str) -> None:
        """Put an executable of that name first on PATH."""
        _executable(self.programs / name, text)

    def recorded(self, name: str) -> list[str]:
        """The lines that a stand-in has written down."""
        path = self.record / name
        return path.read_text().splitlines() if path.exists() else []


def _executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which cmd-one is there, cmd-two is missing, and .venv is prepared."""
    project, programs, record = tmp_path / "a project", tmp_path / "bin", tmp_path / "record"
    for folder in (project / "scripts", project / "requirements", project / ".venv" / "bin", programs, record):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "standfest", project)
    shutil.copy(ROOT / "scripts" / "prepare.sh", project / "scripts")
    (project / "scripts" / "system-packages").write_text("# a comment\npart-one command:cmd-one\n")
    (project / "requirements" / "run.txt").write_text("setuptools==1 \\\n    --hash=sha256:0\nother==2\n")
    _executable(project / ".venv" / "bin" / "python", PYTHON.format(project=project, record=record))
    found = Machine(project, programs, record)
    found.program("cmd-one", "#!/bin/sh\n")
    found.program("apt-get", APT.format(record=record, bin=programs))
    _stamp(project)
    return found


def _stamp(project: Path) -> None:
    digest = hashlib.sha256((project / "requirements" / "run.txt").read_bytes()).hexdigest()
    python = project / ".venv" / "bin" / "python"
    (project / ".venv" / "prepared-run").write_text(f"{digest}  -\n{python.resolve()}\n{project}\n")


def _missing(machine: Machine) -> None:
    with (machine.project / "scripts" / "system-packages").open("a") as file:
        file.write("part-two command:cmd-two\npart-three command:cmd-three\n")


def test_a_prepared_folder_hands_over_at_once(machine: Machine, tmp_path: Path) -> None:
    """Where all is in order nothing is installed; arguments, folder and standard output are the program's own."""
    started = machine.start("up", "--topology", "my file.toml", cwd=tmp_path)

    assert started == Ended(0, "answer\n", "")
    assert machine.recorded("handed-over") == [str(tmp_path), "-m", "standfest", "up", "--topology", "my file.toml"]
    assert machine.recorded("apt") == machine.recorded("pip") == []


def test_it_starts_through_a_symbolic_link(machine: Machine, tmp_path: Path) -> None:
    """The project's folder is where the launcher lies, not where a link to it does."""
    link = tmp_path / "standfest"
    link.symlink_to(machine.project / "standfest")

    assert machine.start(link=link).returncode == 0
    assert machine.recorded("handed-over")[1:] == ["-m", "standfest"]


def test_root_installs_exactly_what_is_missing(machine: Machine) -> None:
    """Packages whose program is there are not named to apt; package lists are not fetched where apt knows them."""
    _missing(machine)
    machine.program("id", "#!/bin/sh\necho 0\n")

    assert machine.start().returncode == 0
    assert [line.split("install ", 1)[1] for line in machine.recorded("apt")] == ["part-two part-three"] * 2
    assert machine.recorded("handed-over")


def test_who_may_not_install_is_told_the_one_line(machine: Machine) -> None:
    """Without the right to install, the last line is the command for an administrator, and nothing is started."""
    _missing(machine)
    machine.program("id", "#!/bin/sh\necho 1000\n")
    machine.program("sudo", "#!/bin/sh\nexit 1\n")

    started = machine.start()

    assert started.returncode == 1
    last = started.stderr.splitlines()[-1]
    assert last.startswith("apt-get update && ")
    assert last.endswith(" part-two part-three")
    assert machine.recorded("apt") == machine.recorded("handed-over") == []


def test_a_changed_lock_is_installed_once(machine: Machine) -> None:
    """When the lock's hash differs from the stamp's, pip installs by hashes; the next start does nothing."""
    with (machine.project / "requirements" / "run.txt").open("a") as lock:
        lock.write("third==3\n")

    assert machine.start().returncode == 0
    installs = machine.recorded("pip")
    assert any("--require-hashes" in line and line.endswith("requirements/run.txt") for line in installs)
    assert machine.start().stderr == ""
    assert machine.recorded("pip") == installs


def test_a_failed_installation_is_not_taken_for_done(machine: Machine) -> None:
    """When pip fails, the start fails, shows what pip said, and the next start tries again."""
    (machine.project / ".venv" / "prepared-run").unlink()
    python = machine.project / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace('*"pip install"*)', '*"pip install"*) echo refused; exit 1;'))

    for _ in range(2):
        started = machine.start()
        assert started.returncode == 1
        assert "refused" in started.stderr
    assert machine.recorded("handed-over") == []


def test_two_starts_at_once_install_once(machine: Machine) -> None:
    """The second of two starts waits for the first and finds everything done."""
    (machine.project / ".venv" / "prepared-run").unlink()
    starts = [machine.launch() for _ in range(2)]
    for start in starts:
        start.communicate(timeout=30)

    assert [start.returncode for start in starts] == [0, 0]
    assert len([line for line in machine.recorded("pip") if "--editable" in line]) == 1
