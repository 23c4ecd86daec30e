"""`standfest serve api`: the process as supervision starts and stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from standfest.interfaces.api.server import listen
from tests.support.postgres import TestDatabase, wait_until

ADDRESS = "127.0.25.2"

CONFIGURATION = """
cluster = "test"
node = "n1"
[api]
listen = "{listen}"
[worker]
listen = "{address}:1"
[database]
hosts = ["{host}:{port}"]
name = "{name}"
user = "standfest_app"
password_file = "{password_file}"
[receipts]
signing_key_file = "{signing_key_file}"
[merchant]
country = "DE"
currency = "EUR"
"""


def test_a_served_process_gets_ready_and_ends_on_sigterm(database: TestDatabase, tmp_path: Path) -> None:
    """It is ready once it has read the catalogue; on SIGTERM it is unready, serves on, and ends with 0."""
    with listen(ADDRESS, 0) as free:
        address = f"{ADDRESS}:{free.getsockname()[1]}"
    key = tmp_path / "signing-key.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    config = tmp_path / "api.toml"
    config.write_text(
        CONFIGURATION.format(
            listen=address, address=ADDRESS, host=database.host, port=database.port, name=database.name,
            password_file=database.password_file(), signing_key_file=key,
        )
    )  # fmt: skip
    command = [sys.executable, "-m", "standfest", "serve", "api", "--config", str(config)]
    environment = {**os.environ, "STANDFEST_HOME": str(tmp_path / "home")}
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, env=environment, stderr=log) as process:
        try:
            wait_until(lambda: _status(address) == 200, f"ready ({log.name})", 20)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            wait_until(lambda: _status(address) == 503, "unready", 5)
            assert process.wait(15) == 0
            assert time.monotonic() - began > 1
        finally:
            process.kill()
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(line.startswith("{") for line in lines), lines
    assert any('"draining"' in line for line in lines)


def _status(address: str) -> int | None:
    try:
        return httpx.get(f"http://{address}/readyz").status_code
    except httpx.TransportError:
        return None
