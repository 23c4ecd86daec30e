"""Giving up root, tried by really running the interpreter; only root has something to give up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from standfest.cli.privilege import NOBODY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up root")

_PROGRAM = """\
import os, sys
from standfest.cli.privilege import give_up_root
from standfest.errors import StandfestError
try:
    give_up_root()
except StandfestError as error:
    sys.exit(str(error))
with open(os.path.join(os.environ["STANDFEST_HOME"], "lock"), "w"):
    print(os.geteuid())
"""

_STARVES = """
import time
from standfest.emergency.loops import taken
with taken(0.02, 10.0):
    print(os.sched_getscheduler(0) == os.SCHED_OTHER)
    time.sleep(0.5)
"""


def give_up(home: Path, tools: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Give up root in a process of its own that finds only `tools`."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM + _STARVES * bool(arguments), *arguments],
        env={"PATH": str(tools), "HOME": "/nonexistent", "STANDFEST_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for the programs that may be used."""
    directory = tmp_path / "tools"
    directory.mkdir()
    return directory


def provide(tools: Path, name: str) -> None:
    """Let the program be found."""
    found = shutil.which(name)
    assert found is not None
    (tools / name).symlink_to(found)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that does not exist yet, where another user could reach it."""
    directory = tmp_path_factory.mktemp("home")
    for parent in (directory, *directory.parents[:2]):
        if parent.stat().st_uid == os.geteuid() and parent != Path(parent.root):
            parent.chmod(parent.stat().st_mode | 0o011)
    return directory / "standfest"


def test_in_a_user_namespace_files_stay_with_root(home: Path, tools: Path) -> None:
    """Where user namespaces are allowed the program is nobody, and what it writes belongs to root outside."""
    provide(tools, "unshare")
    if subprocess.run(["unshare", "--user", "true"], capture_output=True, timeout=10, check=False).returncode != 0:
        pytest.skip("user namespaces are refused here")
    done = give_up(home, tools)
    assert done.stdout == f"{NOBODY}\n", done.stderr
    assert (home / "lock").stat().st_uid == 0


def test_busy_loops_keep_their_priority(home: Path, tools: Path) -> None:
    """After giving up root a command that may starve the machine has loops at real-time priority, and none itself."""
    if subprocess.run(["chrt", "--fifo", "1", "true"], capture_output=True, timeout=10, check=False).returncode != 0:
        pytest.skip("root may not have real-time priority here")
    provide(tools, "setpriv")
    done = give_up(home, tools, "bench")
    assert done.stdout == f"{NOBODY}\nTrue\n", done.stderr


def test_without_namespaces_the_home_is_given_away(home: Path, tools: Path) -> None:
    """Where user namespaces are refused the program runs as nobody, who owns the home from then on."""
    provide(tools, "setpriv")
    done = give_up(home, tools)
    assert done.stdout == f"{NOBODY}\n", done.stderr
    assert (home / "lock").stat().st_uid == NOBODY
    again = give_up(home, tools)
    assert again.stdout == f"{NOBODY}\n", again.stderr


def test_where_nothing_works_one_line_says_what_to_do(home: Path, tools: Path) -> None:
    """Without any way to give up root the program ends with one line that tells the way out."""
    done = give_up(home, tools)
    assert done.returncode == 1
    assert "run standfest as an ordinary user" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_does_not_go_round_in_circles(home: Path, tools: Path) -> None:
    """A program that is still root after it gave up root stops."""
    provide(tools, "setpriv")
    done = give_up(home, tools, STANDFEST_GAVE_UP_ROOT="1")
    assert done.returncode == 1
    assert "still root" in done.stderr


def test_a_folder_with_other_things_is_not_given_away(home: Path, tools: Path) -> None:
    """A folder that holds something that is not Standfest's keeps its owner."""
    provide(tools, "setpriv")
    home.mkdir()
    (home / "letters.txt").write_text("mine")
    done = give_up(home, tools)
    assert done.returncode == 1
    assert "letters.txt" in done.stderr
    assert (home / "letters.txt").stat().st_uid == 0
