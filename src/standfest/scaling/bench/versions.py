"""Which versions were measured: a figure without them cannot be compared."""

import asyncio
import os
import platform
import re
from importlib.metadata import version

from standfest.cluster.binaries import Binaries
from standfest.scaling.bench.child import output

_TIMEOUT_S = 20.0


async def versions(binaries: Binaries) -> dict[str, str]:
    """Of the product, its parts, and the machine."""
    commands = {
        "PostgreSQL": [str(binaries.postgres_bin / "postgres"), "--version"],
        "pgbench": [str(binaries.postgres_bin / "pgbench"), "--version"],
        "etcd": [str(binaries.etcd), "--version"],
        "HAProxy": [str(binaries.haproxy), "-v"],
    }
    said = await asyncio.gather(*map(_first_number, commands.values()))
    return {
        "Standfest": version("standfest"),
        **dict(zip(commands, said, strict=True)),
        "Python": platform.python_version(),
        "uvicorn": version("uvicorn"),
        "psycopg": version("psycopg"),
        "kernel": platform.release(),
        "cores": str(os.cpu_count()),
    }


async def _first_number(command: list[str]) -> str:
    said = await output(command[0], command, _TIMEOUT_S)
    found = re.search(r"\d+(\.\d+)+", said.decode())
    return found[0] if found else "unknown"
