"""`standfest serve api` as supervision starts it: a process of its own, on a real database and a real journal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from standfest.interfaces.api.server import listen
from tests.support.etcd import EtcdCluster
from tests.support.postgres import TestDatabase
from tests.support.waiting import freeze, wait_until

ADDRESS = "127.0.33.1"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0


@dataclass
class ServedApi:
    """One API process with its files. Close it, or leave its with block, to end it."""

    directory: Path
    address: str
    _configuration: dict[str, dict[str, Any]]
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.address}"

    @property
    def home(self) -> Path:
        """What the process may write to: where it gives root away, all else is not its own."""
        return self.directory / "home"

    @property
    def snapshot(self) -> Path:
        """The catalogue on disk."""
        return self.home / "catalogue" / "api.snapshot"

    @property
    def receipts(self) -> Path:
        """The folder of its receipts."""
        return self.home / "receipts"

    @property
    def pid(self) -> int:
        """The process's id."""
        if self._process is None:
            raise RuntimeError("the API process does not run")
        return self._process.pid

    def start(self) -> None:
        """Starts the process; whether it is ready is for `wait_until_ready`."""
        command = [sys.executable, "-m", "standfest", "serve", "api", "--config", str(self.directory / "api.toml")]
        environment = {**os.environ, "STANDFEST_HOME": str(self.home)}
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stderr=log)

    def wait_until_ready(self) -> None:
        """Waits until it wants traffic."""
        wait_until(self._ready, f"ready ({self.directory / 'log'})", READY_TIMEOUT_S)

    def _ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the API process ended:\n{(self.directory / 'log').read_text()[-4000:]}")
        return self.readiness() == 200

    def readiness(self) -> int | None:
        """The status of /readyz; None where nobody answers."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code
        except httpx.TransportError:
            return None

    def health(self) -> dict[str, Any]:
        """What /v1/health says, with its dependencies by name."""
        health: dict[str, Any] = httpx.get(f"{self.url}/v1/health", timeout=10).json()
        return health | {"dependencies": {each["name"]: each for each in health["dependencies"]}}

    def client(self, key: str) -> httpx.Client:
        """An HTTP client with this key; close it."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=20)

    def log(self) -> list[dict[str, Any]]:
        """What it logged since it was first started."""
        return [json.loads(line) for line in (self.directory / "log").read_text().splitlines()]

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        status = self._process.wait(STOP_TIMEOUT_S)
        self._process = None
        return status

    def configure(self, *, age_max_s: float) -> None:
        """What holds from its next start on."""
        self._configuration["catalogue"]["age_max_s"] = age_max_s
        lines = ['cluster = "test"', 'node = "n1"', 'service = "api"']
        for table, entries in self._configuration.items():
            lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in entries.items())]
        (self.directory / "api.toml").write_text("\n".join(lines) + "\n")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP for the length of a with block."""
        freeze([self.pid])
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it without ceremony."""
        if self._process is not None:
            self.kill()


@contextlib.contextmanager
def served_api(
    database: TestDatabase,
    etcd: EtcdCluster,
    directory: Path,
    address: str | None = None,
    *,
    hosts: list[str] | None = None,
    members: list[str] | None = None,
) -> Iterator[ServedApi]:
    """An API process that was started, at `address` (HOST:PORT) or somewhere, with its files in `directory`; it may not
    be ready yet. `hosts`, `members`: where it is told that the database and the journal are, if elsewhere."""
    if address is None:
        with listen(ADDRESS, 0) as free:
            address = f"{ADDRESS}:{free.getsockname()[1]}"
    key = directory / "signing-key.pem"
    key.touch(mode=0o600)
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    configuration = _configuration(database, etcd, directory, address)
    configuration["database"]["hosts"] = hosts or configuration["database"]["hosts"]
    configuration["journal"]["members"] = members or configuration["journal"]["members"]
    api = ServedApi(directory, address, configuration)
    api.configure(age_max_s=14_400)
    api.start()
    try:
        yield api
    finally:
        api.close()


def _configuration(database: TestDatabase, etcd: EtcdCluster, directory: Path, address: str) -> dict[str, Any]:
    return {
        "api": {"listen": address},
        "capacity": {"listen": f"{address.rpartition(':')[0]}:0", "doors": 1},
        "worker": {"listen": f"{ADDRESS}:1"},
        "audit": {"listen": f"{ADDRESS}:2"},
        "database": {
            "hosts": [f"{database.host}:{database.port}"],
            "name": database.name,
            "user": "standfest_app",
            "password_file": str(database.password_file()),
        },
        "journal": {
            "members": list(etcd.addresses),
            "authority_file": str(etcd.authority_file),
            "certificate_file": str(etcd.certificate_file),
            "key_file": str(etcd.key_file),
            "size_max_bytes": 2**29,
        },
        "catalogue": {"snapshot_directory": str(directory / "home" / "catalogue")},
        "receipts": {
            "signing_key_file": str(directory / "signing-key.pem"),
            "directory": str(directory / "home" / "receipts"),
        },
        "failpoints": {"file": str(directory / "failpoints")},
        "merchant": {"country": "DE", "currency": "EUR"},
    }
