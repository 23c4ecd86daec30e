"""A real etcd cluster for tests: three members, TLS with client certificates, on addresses of its own.

Everything lives in one directory below the system's temporary directory and on free ports of 127.0.31.x. The members
are children of the test process and die with it, however it ends (PR_SET_PDEATHSIG through setpriv).
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import aiohttp

from standfest.clients.etcd import client_tls
from standfest.cluster.authority import Issued, issue, new_authority
from tests.support.waiting import freeze, wait_until

ADDRESS_PREFIX = "127.0.31."
HEARTBEAT_MS = 100
ELECTION_MS = 500
QUOTA_BYTES = 2 * 1024**3
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
_DIRECTORY_PREFIX = "standfest-test-etcd-"


@dataclass
class Member:
    """One etcd member of a test cluster."""

    name: str
    host: str
    client_port: int
    peer_port: int
    directory: Path
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{self.host}:{self.client_port}"

    @property
    def log(self) -> Path:
        """What the member wrote to its standard error: JSON lines."""
        return self.directory / f"{self.name}.log"

    @property
    def data(self) -> Path:
        """The member's data directory."""
        return self.directory / self.name

    @property
    def file_bytes(self) -> int:
        """Size of the member's database file on disk."""
        return (self.data / "member" / "snap" / "db").stat().st_size

    @property
    def running(self) -> bool:
        """Whether its process lives (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the member; whether it serves is for `EtcdCluster.wait_until_well`.

        Only from a thread that lasts as long as the member may live: its end is taken for the parent's (prctl(2)).
        """
        command = ["setpriv", "--pdeathsig", "SIGKILL", "--", "etcd", "--config-file", str(self._config)]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    @property
    def _config(self) -> Path:
        return self.directory / f"{self.name}.json"

    def kill(self) -> None:
        """SIGKILL the member, as a crash of its host would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def pause(self) -> None:
        """Freeze the member (SIGSTOP); the kernel still accepts TCP connections for it."""
        freeze([self.pid])

    def resume(self) -> None:
        """Undo `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """`pause` for the length of a with block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def erase(self) -> None:
        """Remove the data of a member that does not run, as a lost disk would."""
        shutil.rmtree(self.data)

    def log_lines(self, text: str) -> list[str]:
        """Lines of its log that contain `text`."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if text in line]


@dataclass
class EtcdCluster:
    """Three members. Close it, or leave its with block, to stop and remove everything."""

    directory: Path
    members: list[Member]
    _lock: IO[bytes]

    @property
    def addresses(self) -> tuple[str, ...]:
        """`host:port` of every member for clients, in the members' order."""
        return tuple(member.address for member in self.members)

    @property
    def authority_file(self) -> Path:
        """The certificate of the cluster's authority."""
        return self.directory / "ca.pem"

    @property
    def certificate_file(self) -> Path:
        """A client's certificate; the members' is another."""
        return self.directory / "client.pem"

    @property
    def key_file(self) -> Path:
        """The private key of `certificate_file`."""
        return self.directory / "client-key.pem"

    def tls(self) -> ssl.SSLContext:
        """What a client connects with."""
        return client_tls(self.authority_file, self.certificate_file, self.key_file)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """An HTTP session such as the product's processes have."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64), trust_env=False) as session:
            yield session

    def leader(self) -> Member:
        """The member that leads, once all that run agree on one."""
        found: list[Member] = []

        def agreed() -> bool:
            leaders = {self._leader_id(member) for member in self.members if member.running}
            ids = {self._member_id(member): member for member in self.members if member.running}
            found[:] = [ids[leader] for leader in leaders if leader in ids]
            return len(leaders) == 1 and len(found) == 1

        wait_until(agreed, f"one leader ({self.directory})", START_TIMEOUT_S)
        return found[0]

    def followers(self) -> list[Member]:
        """The members that run and do not lead."""
        leader = self.leader()
        return [member for member in self.members if member is not leader and member.running]

    def wait_until_well(self) -> None:
        """Wait until every member that should run serves linearizable reads."""
        for member in self.members:
            if member.running:
                self._wait_until_serving(member)

    def _wait_until_serving(self, member: Member) -> None:
        def serves() -> bool:
            if not member.running:
                raise RuntimeError(f"{member.name} ended at its start:\n{member.log.read_text()[-4000:]}")
            return self._ask(member, "/v3/kv/range", {"key": "AA==", "count_only": True}) is not None

        wait_until(serves, f"{member.name} serving ({member.log})", START_TIMEOUT_S)

    def restart(self, member: Member) -> None:
        """Start a member that was killed, and wait until it serves."""
        member.start()
        self._wait_until_serving(member)

    def _leader_id(self, member: Member) -> str | None:
        status = self._ask(member, "/v3/maintenance/status", {})
        return str(status.get("leader", "0")) if status else None

    def _member_id(self, member: Member) -> str | None:
        status = self._ask(member, "/v3/maintenance/status", {})
        return str(status["header"]["member_id"]) if status else None

    def _ask(self, member: Member, path: str, body: dict[str, object]) -> dict[str, Any] | None:
        """One question over a connection of its own, without the client under test; None where no answer came."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection = http.client.HTTPSConnection(member.host, member.client_port, timeout=2, context=self.tls())
            with contextlib.closing(connection):
                connection.request("POST", path, json.dumps(body))
                response = connection.getresponse()
                if response.status == 200:
                    answer: dict[str, Any] = json.loads(response.read())
                    return answer
        return None

    def close(self) -> None:
        """Kill the members and remove the directory."""
        for member in self.members:
            member.kill()
        shutil.rmtree(self.directory)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def start_etcd(quota_bytes: int = QUOTA_BYTES, election_ms: int = ELECTION_MS) -> EtcdCluster:
    """Start three members and wait until each serves; takes about a second."""
    _remove_leftovers()
    directory = Path(tempfile.mkdtemp(prefix=_DIRECTORY_PREFIX))
    lock = (directory / "lock").open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    members = [_member(directory, number) for number in (1, 2, 3)]
    cluster = EtcdCluster(directory, members, lock)
    try:
        authority = new_authority("test")
        (directory / "ca.pem").write_bytes(authority.certificate)
        _write(directory, "client", issue(authority, "client", ()))
        for member in members:
            # A peer's source address is compared with its certificate, and on loopback that is always 127.0.0.1.
            _write(directory, member.name, issue(authority, member.name, (member.host, "127.0.0.1")))
            _configure(member, members, quota_bytes, election_ms)
            member.start()
        cluster.wait_until_well()
    except BaseException:
        cluster.close()
        raise
    return cluster


def _member(directory: Path, number: int) -> Member:
    host = f"{ADDRESS_PREFIX}{number}"
    client_port, peer_port = _free_ports(host)
    return Member(f"n{number}", host, client_port, peer_port, directory)


def _configure(member: Member, members: list[Member], quota_bytes: int, election_ms: int) -> None:
    tls = {
        "cert-file": str(member.directory / f"{member.name}.pem"),
        "key-file": str(member.directory / f"{member.name}-key.pem"),
        "trusted-ca-file": str(member.directory / "ca.pem"),
        "client-cert-auth": True,
    }
    client_url, peer_url = f"https://{member.address}", f"https://{member.host}:{member.peer_port}"
    settings = {
        "name": member.name,
        "data-dir": str(member.data),
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": ",".join(f"{each.name}=https://{each.host}:{each.peer_port}" for each in members),
        "initial-cluster-state": "new",
        "initial-cluster-token": member.directory.name,
        "client-transport-security": tls,
        "peer-transport-security": tls,
        "enable-grpc-gateway": True,
        "strict-reconfig-check": True,
        "pre-vote": True,
        "heartbeat-interval": HEARTBEAT_MS,
        "election-timeout": election_ms,
        "quota-backend-bytes": quota_bytes,
        "snapshot-count": 10000,
        "logger": "zap",
        "log-level": "info",
        "log-outputs": ["stderr"],
    }
    (member.directory / f"{member.name}.json").write_text(json.dumps(settings, indent=2))


def _write(directory: Path, name: str, issued: Issued) -> None:
    (directory / f"{name}.pem").write_bytes(issued.certificate)
    key = directory / f"{name}-key.pem"
    key.touch(mode=0o600)
    key.write_bytes(issued.key)


def _remove_leftovers() -> None:
    """Remove directories of test processes that were killed: nobody holds their lock any more."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY_PREFIX}*"):
        with contextlib.suppress(OSError), (directory / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)


def _free_ports(host: str) -> tuple[int, int]:
    """Two ports below the ephemeral range, so that no outgoing connection takes them before the member does."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), k=50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            found.append(port)
        if len(found) == 2:
            return found[0], found[1]
    raise RuntimeError(f"no two free ports on {host} in 20000-31999 in 50 tries")
