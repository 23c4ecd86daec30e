"""The cluster's home: where everything it keeps lies, and the lock that lets one command change it at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from standfest.errors import StandfestError


class HomeBusyError(StandfestError):
    """Another command is changing the cluster in this home."""


class HomeUnusableError(StandfestError):
    """The home cannot be created or written."""


@dataclass(frozen=True)
class NodeHome:
    """The part of the home that belongs to one node; on other sizes of cluster it is on that node's own disk."""

    root: Path
    """`nodes/<name>` in the cluster's home."""

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data directory."""
        return self.root / "postgres"

    @property
    def etcd(self) -> Path:
        """Data directory of the member of Patroni's etcd."""
        return self.root / "etcd"

    @property
    def journal(self) -> Path:
        """Data directory of the member of the journal's etcd."""
        return self.root / "journal"

    @property
    def catalogue(self) -> Path:
        """What API processes keep of the catalogue, one file each."""
        return self.root / "catalogue"

    @property
    def receipts(self) -> Path:
        """Receipts that API processes gave, until they are audited."""
        return self.root / "receipts"

    @property
    def config(self) -> Path:
        """Rendered configuration: written at every `up`, never edited."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        """One log file a service, none of them without a bound."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Pid files and the markers of what is held."""
        return self.root / "run"

    def founded(self, program: str) -> Path:
        """The mark that a member of etcd had data: without data it does not start by itself any more."""
        return self.run / f"founded-{program}"

    @property
    def notes(self) -> Path:
        """What is being mended, a file for each program."""
        return self.run / "mending"

    def create(self) -> None:
        """Make the directories that are missing; PostgreSQL's own is left to PostgreSQL."""
        kept = (self.etcd, self.journal, self.catalogue, self.receipts)
        for directory in (self.root, *kept, self.config, self.logs, self.run):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@dataclass(frozen=True)
class Home:
    """The directory that holds one cluster."""

    root: Path
    """Absolute, without symbolic links: processes are recognised by paths below it."""

    @classmethod
    def default(cls) -> "Home":
        """$STANDFEST_HOME, else ~/.standfest."""
        configured = os.environ.get("STANDFEST_HOME")
        return cls((Path(configured) if configured else Path.home() / ".standfest").expanduser().resolve())

    @property
    def topology(self) -> Path:
        """The topology file; written at the first `up`."""
        return self.root / "topology.toml"

    @property
    def secrets(self) -> Path:
        """Generated credentials and keys: directory 0700, files 0600."""
        return self.root / "secrets"

    def node(self, name: str) -> NodeHome:
        """The part of the home that belongs to node `name`."""
        return NodeHome(self.root / "nodes" / name)

    def create(self) -> None:
        """Make the home where it is missing; HomeUnusableError says why it cannot be."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeUnusableError(
                f"cannot create {self.root}: {error.strerror}; choose another with STANDFEST_HOME"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home for one command that changes the cluster; HomeBusyError where another one holds it."""
        with (self.root / "lock").open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeBusyError(
                    f"another standfest command is changing the cluster in {self.root}; wait for it to end"
                ) from None
            yield


def write_private(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content` in one step; only its owner may ever read it (0600)."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
