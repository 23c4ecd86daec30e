"""Giving up root: PostgreSQL refuses to run as root, so the whole command line runs as somebody else.

Done once, before anything else is imported, for every command alike, so that all of them see the same files and may
signal the same processes. Two ways, each tried out with this very interpreter before it is taken:

1. a user namespace in which the caller is `nobody`: files keep their owner, a program below /root stays reachable;
2. where namespaces are refused (chroots, some containers): the user id of `nobody` itself. The home is given to that
   user. Where a directory on the way belongs to root alone (/root has mode 0700), the one capability to pass through
   it is kept.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from standfest.emergency import loops
from standfest.errors import StandfestError

NOBODY = 65534
"""User and group id of `nobody` and `nogroup` on Debian; nothing else of the system should belong to them."""

_MARK = "STANDFEST_GAVE_UP_ROOT"
"""Set when the command line is executed anew, so that a way that does not work is not taken again and again."""

_PROBE_TIMEOUT_S = 20

_PROBE = """\
import os, subprocess, sys, tempfile
import standfest.errors
with tempfile.TemporaryFile(dir=sys.argv[1]):
    pass
again = [sys.executable, "-c", "import standfest.errors, sys; sys.exit(sys.base_prefix != sys.argv[1])", sys.argv[2]]
# What setpriv can start is not always what its program can start, and the parts are started by this interpreter.
sys.exit(os.geteuid() == 0 or subprocess.run(again, timeout=10).returncode)
"""

_STARVING = (["bench"], ["drill"])
"""Commands that may take processor time away by busy loops."""

_OWN_FILES = ("topology.toml", "secrets", "lock", "nodes")


class PrivilegeError(StandfestError):
    """The command cannot run as root, and cannot run as anybody else either."""


def give_up_root() -> None:
    """Execute the command line anew as an unprivileged user where it runs as root; PrivilegeError where none works."""
    if os.geteuid() != 0:
        return
    if _MARK in os.environ:
        raise PrivilegeError("still root after giving root up; start it as an ordinary user")
    home = _home()
    for prefix in _ways(home):
        if _works(prefix, home):
            if sys.argv[1:2] in _STARVING:
                _keep_priority(prefix)
            # `sys.orig_argv` is how this interpreter was called: -m, -X and all.
            command = [*prefix, sys.executable, *sys.orig_argv[1:]]
            os.execvpe(command[0], command, {**os.environ, _MARK: "1"})  # noqa: S606 - there is no shell to avoid
    raise PrivilegeError(
        "PostgreSQL refuses to run as root, and neither a user namespace (unshare) nor another user (setpriv) works "
        f"here; run standfest as an ordinary user who may read {Path(sys.prefix)} and write STANDFEST_HOME ({home})"
    )


def _keep_priority(prefix: Sequence[str]) -> None:
    """Starts the process of the busy loops as somebody else, too, but with the real-time priority that only root can
    give. It waits for orders from the pipes that are left open here, and ends with them."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(loops.PRIORITY))
    except PermissionError:
        return  # whoever wants the loops is told
    taken, orders = os.pipe()
    answers, given = os.pipe()
    try:
        command = [*prefix, sys.executable, "-m", loops.__name__]
        subprocess.Popen(command, stdin=taken, stdout=given, start_new_session=True)
    finally:
        os.sched_setscheduler(0, *before)
    for descriptor in (orders, answers):
        os.set_inheritable(descriptor, True)
    os.environ[loops.KEPT] = f"{orders}:{answers}"


def _home() -> Path:
    """As cluster.home has it; root's own ~ stays meant, whoever runs the command in the end."""
    configured = os.environ.get("STANDFEST_HOME")
    home = (Path(configured) if configured else Path.home() / ".standfest").expanduser().resolve()
    os.environ["STANDFEST_HOME"] = str(home)
    return home


def _ways(home: Path) -> Iterator[Sequence[str]]:
    """The ways to run a command as somebody else, the best one first; what a way needs is done when it is asked for."""
    unshare, setpriv = shutil.which("unshare"), shutil.which("setpriv")
    namespace = [unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"] if unshare else []
    given_away = home.exists() and home.stat().st_uid == NOBODY
    if namespace and not given_away:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield namespace
    if setpriv:
        _give_away(home)
        identity = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        yield [*identity, "--inh-caps=-all", "--"]
        # The secure bit: access(2), which PostgreSQL asks about its own programs, would else ignore the capability.
        search = [f"--{which}=-all,+dac_read_search" for which in ("inh-caps", "ambient-caps", "bounding-set")]
        yield [*identity, *search, "--securebits=+no_setuid_fixup", "--"]


def _works(prefix: Sequence[str], home: Path) -> bool:
    """Whether this interpreter runs that way, finds the product, and can write the home."""
    try:
        probe = subprocess.run(
            [*prefix, sys.executable, "-c", _PROBE, str(home), sys.base_prefix],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return probe.returncode == 0


def _give_away(home: Path) -> None:
    """Let `nobody` own the home; a directory that is not a cluster's home is never touched."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_uid == NOBODY:
        return
    strangers = sorted(entry.name for entry in home.iterdir() if entry.name not in _OWN_FILES)
    if strangers and not (home / "topology.toml").exists():
        raise PrivilegeError(
            f"{home} holds {strangers[0]}, which is not Standfest's; set STANDFEST_HOME to another folder"
        )
    for directory, _, files in os.walk(home):
        for path in (Path(directory), *(Path(directory, name) for name in files)):
            if stat.S_ISREG(path.lstat().st_mode) or path.is_dir():
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
