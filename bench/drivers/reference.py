"""pgbench with the same rows, one order a transaction: what the servers do without any Python.

python -m bench.drivers.reference --seconds 5
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from bench.drivers.measure import clean, prepare
from tests.support.postgres import PostgresCluster, postgres_bin, start_cluster

SCRIPT = Path(__file__).with_name("pgbench.sql")


def pgbench(cluster: PostgresCluster, dsn: str, clients: int, seconds: int) -> str:
    """Transactions a second and mean latency as pgbench reports them. (Simple protocol: \\gset values are text.)"""
    part = conninfo_to_dict(dsn)
    done = subprocess.run(
        [
            str(postgres_bin() / "pgbench"), "-n", "-f", str(SCRIPT), "-c", str(clients), "-T", str(seconds),
            "-h", str(part["host"]), "-p", str(part["port"]), "-U", str(part["user"]), str(part["dbname"]),
        ],
        check=True, capture_output=True, text=True, timeout=seconds + 60,
        env=os.environ | {"PGPASSFILE": str(part["passfile"])},
    )  # fmt: skip
    return ", ".join(re.findall(r"^(?:tps|latency average) = [\d.]+(?: ms)?", done.stdout, re.MULTILINE))


def main() -> None:
    """Three rounds at 1 and at 32 clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    with start_cluster(standbys=2) as cluster:
        dsn = prepare(cluster)
        for _ in range(3):
            for clients in (1, 32):
                clean(cluster)
                print(clients, "clients:", pgbench(cluster, dsn, clients, options.seconds), flush=True)


if __name__ == "__main__":
    main()
