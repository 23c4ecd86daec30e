"""The parts' command lines: how they are started, and how a running one is recognised again.

A command line can be read by everybody, across users and user namespaces; environment and working directory cannot.
"""

from collections.abc import Sequence
from pathlib import Path

from standfest.cluster.caretaker import mender_arguments
from standfest.cluster.home import NodeHome
from standfest.cluster.inventory import Kind, Service

RESTARTER = "restarter"

MENDER = "mender"
"""What the restarter runs for a while where a copy has to be made anew."""

POSTGRES_HELPER = "postgres-helper"
"""What Patroni runs on PostgreSQL's data directory for a while."""

BY_ITSELF = ("/bin/sh", "-c", 'exec "$@" </dev/null >>"$0" 2>&1')
"""How a program starts, its log before it: without a pipe to supervisor, which it may outlive.
A write to standard output that nobody reads any more kills a Go program (SIGPIPE; os.File, epipecheck): a member of
etcd would die with the first line that it logs after its supervisor's death.
The input pipe never ends. PostgreSQL's backends would inherit it, and one that was waiting for its standby when the
postmaster was killed would go on as an interactive session that reads it (syncrep.c, `whereToSendOutput = DestNone`):
it would live for ever, hold the shared memory, and keep the node from starting."""

_WITH_DATA = (
    "/bin/sh",
    "-c",
    'exec </dev/null >>"$0" 2>&1; if [ -e "$1" ] && ! ls "$2"/member/wal/*.wal >/dev/null 2>&1; then '
    'echo "$2 held a member of etcd and is empty: it is not started as if it were new"; exit 1; fi; '
    'shift 2; exec "$@"',
)
"""As BY_ITSELF, for a member of etcd; its mark (`NodeHome.founded`) and data directory go between log and program.
Without its data it would start as if it were new where the others do not answer or know it by another number
(etcdserver/cluster_util.go, isMemberBootstrapped): forgetful, or the first of a second cluster."""

_ETCDS = (Kind.ETCD.value, Kind.JOURNAL.value)

_HELPERS = ("initdb", "pg_basebackup", "pg_ctl", "pg_rewind")


def supervisord_arguments(home: NodeHome) -> list[str]:
    """What follows the interpreter in the node's supervisord."""
    return ["-m", "supervisor.supervisord", "-c", str(home.config / "supervisord.conf")]


def restarter_arguments(home: NodeHome) -> list[str]:
    """What follows the interpreter in the node's restarter; --url and --password-file follow."""
    return ["-m", "standfest.cluster.restarter", "--held", str(home.run / "held")]


def rewind_program(home: NodeHome) -> Path:
    """What Patroni calls as pg_rewind."""
    return home.config / "pg_rewind"


def rewind_arguments(postgres_bin: Path) -> list[str]:
    """What follows the interpreter in it; pg_rewind's options follow."""
    return ["-m", "standfest.cluster.rewind", str(postgres_bin / "pg_rewind")]


def promotion_permit(home: NodeHome) -> Path:
    """Where a person's decision lies that the node's server is promoted though nobody follows it."""
    return home.run / "promote-alone"


def promotion_arguments(home: NodeHome) -> list[str]:
    """What follows the interpreter in what Patroni calls before it promotes the node's server."""
    return ["-m", "standfest.cluster.promotion", str(home.config / "patroni.json"), str(promotion_permit(home))]


def program_arguments(home: NodeHome, service: Service) -> list[str]:
    """What follows the program, or the interpreter, in a supervised service."""
    config = home.config
    match service.kind:
        case Kind.ETCD | Kind.JOURNAL:
            return ["--config-file", str(config / f"{service.name}.json")]
        case Kind.PATRONI:
            return ["-m", "patroni", str(config / "patroni.json")]
        case Kind.DOOR:
            return ["-W", "-f", str(config / "door.cfg")]
        case Kind.API | Kind.WORKER | Kind.AUDIT:
            return ["-m", "standfest", "serve", service.kind.value, "--config", str(config / f"{service.name}.toml")]
        case Kind.POSTGRES | Kind.SUPERVISOR:
            raise ValueError(f"{service.full_name} is not a program that supervisor runs")


def program_start(log: Path, program: Path, arguments: Sequence[str]) -> list[str | Path]:
    """The whole command line of a program that appends what it says to `log`."""
    return [*BY_ITSELF, log, program, *arguments]


def member_start(log: Path, mark: Path, data: Path, program: Path, arguments: Sequence[str]) -> list[str | Path]:
    """The same of a member of etcd, which is not started without the data that it had."""
    return [*_WITH_DATA, log, mark, data, program, *arguments]


def recognise(command: Sequence[str], home: NodeHome) -> str | None:
    """Which of the node's programs runs with this command line; None where it is none of them.

    All arguments must be there as they are given at the start, so that an editor or a pager on one of the files is
    not taken for the part itself.
    """
    for shell, own in ((BY_ITSELF, 1), (_WITH_DATA, 3)):
        if tuple(command[: len(shell)]) == shell:
            command = command[len(shell) + own :]
    if not command:
        return None
    config, program = home.config, Path(command[0]).name
    match program, tuple(command[1:]):
        case "etcd", ("--config-file", path) if Path(path).parent == config and Path(path).stem in _ETCDS:
            return Path(path).stem
        # After a reload HAProxy puts the handing over from its predecessor before the options it was started with.
        case "haproxy", (*_, "-W", "-f", path) if path == str(config / "door.cfg"):
            return Kind.DOOR.value
        case "postgres", ("-D", path, *_) if path == str(home.postgres):
            return Kind.POSTGRES.value
        case "postgres", ("--single", *options) if _name(options, home.postgres):
            return POSTGRES_HELPER
        case helper, options if helper in _HELPERS and _name(options, home.postgres):
            return POSTGRES_HELPER
        case _, ("-m", "standfest.cluster.rewind", _, *options) if _name(options, home.postgres):
            return POSTGRES_HELPER
        case _, arguments if list(arguments) == promotion_arguments(home):
            return POSTGRES_HELPER
        case _, ("-m", "patroni", path) if path == str(config / "patroni.json"):
            return Kind.PATRONI.value
        case _, ("-m", "standfest", "serve", _, "--config", path) if Path(path).parent == config:
            return Path(path).stem
        case _, arguments if list(arguments) == supervisord_arguments(home):
            return Kind.SUPERVISOR.value
        case _, (*arguments, "--url", _, "--password-file", _) if arguments == restarter_arguments(home):
            return RESTARTER
        case _, arguments if list(arguments) == mender_arguments(home):
            return MENDER
    return None


def _name(options: Sequence[str], directory: Path) -> bool:
    """Whether one of the options is this directory, by itself or after `--option=`."""
    return any(option.rpartition("=")[2] == str(directory) for option in options)
