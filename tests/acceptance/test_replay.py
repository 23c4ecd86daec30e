"""Replaying a file through the doors of a real cluster: every row accounted for, twice, and through a failover."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql

from standfest.cli.schema import conninfo
from standfest.cluster.access import owner_access
from standfest.cluster.secrets import Secrets
from standfest.domain.synthetic import SYNTHETIC_CLIENT
from tests.support.cluster import LocalCluster

# The cluster orders something itself every second, and forgets it again: no part of what a replay leaves behind.
NOT_SYNTHETIC = {
    "orders": "client_id <> %s",
    **dict.fromkeys(("order_line", "order_event"), "order_ref NOT IN (SELECT id FROM orders WHERE client_id = %s)"),
}
BUCKETS = ("placed", "cancelled", "cancelled_in_part", "refused", "rejected", "failed")


@pytest.fixture(autouse=True)
def _well(cluster: LocalCluster) -> None:
    """Every test starts with a cluster that is well."""
    cluster.until_well()


def database(cluster: LocalCluster) -> psycopg.Connection[Any]:
    """A connection to the order plane's database on the primary, whichever node that is."""
    return psycopg.connect(conninfo(owner_access(cluster.topology, Secrets(cluster.home / "secrets"))))


LISTING = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'audit_seal'"


def contents(cluster: LocalCluster) -> dict[str, tuple[Any, ...]]:
    """The number of rows of each table and a sum over all their contents, without synthetic orders, and without the
    audit's seals, which follow in their own time."""
    counting = "SELECT count(*), sum(hashtextextended(whole::text, 0)::numeric) FROM {} AS whole WHERE {}"
    rows = {}
    with database(cluster) as connection:
        for (table,) in connection.execute(LISTING).fetchall():
            wanted = sql.SQL(NOT_SYNTHETIC.get(table, "%s IS NOT NULL"))
            query = sql.SQL(counting).format(sql.Identifier(table), wanted)
            rows[table] = connection.execute(query, [SYNTHETIC_CLIENT]).fetchone() or ()
    return rows


def orders_by_invoice(cluster: LocalCluster, source: str) -> dict[str, int]:
    """How many orders there are for each invoice of a replayed file."""
    counting = """
        SELECT external_reference, count(*) FROM orders
        WHERE starts_with(idempotency_key, %s) GROUP BY external_reference
    """
    with database(cluster) as connection:
        return dict(connection.execute(counting, [f"replay:{source}:"]).fetchall())


def test_a_replay_is_whole_and_its_repeat_changes_nothing(cluster: LocalCluster) -> None:
    """Every row is accounted for, none failed; a second replay leaves every row of every table as it was, and what the
    database answered it is known as a repeat."""
    command = ("replay", "--generate", "150", "--seed", "31", "--json")
    first = json.loads(cluster.succeed(*command))
    before = contents(cluster)
    second = json.loads(cluster.succeed(*command))
    assert contents(cluster) == before
    assert sum(first[bucket] for bucket in BUCKETS) == first["rows"]
    assert first["failed"] == first["rejected"] == 0
    assert first["orders"]["placed"] == first["orders"]["sent"]
    # On a machine that stalls, some may go by the journal, which does not know what the database has.
    assert 0 < second["orders"].pop("repeated") <= first["orders"]["placed"]
    for report in (first, second):
        del report["speed"], report["catalogue"]
    assert first == second


def test_a_replay_outlives_the_primary(cluster: LocalCluster, tmp_path: Path) -> None:
    """With the primary's postmaster killed on the way no row fails, and each invoice is one order."""
    source = "generated-1000-32"
    report_file = tmp_path / "report.json"
    with report_file.open("w") as out:
        replay = subprocess.Popen(
            [sys.executable, "-m", "standfest", "replay", "--generate", "1000", "--seed", "32", "--json"],
            env={**os.environ, "STANDFEST_HOME": str(cluster.home)},
            stdout=out,
        )
    try:
        deadline = time.monotonic() + 60
        while len(orders_by_invoice(cluster, source)) < 20:
            assert time.monotonic() < deadline, "no orders of the replay arrived within 60 s"
            time.sleep(0.2)
        postmaster = cluster.pid(f"{cluster.primary()}/postgres")
        psutil.Process(postmaster).send_signal(signal.SIGKILL)
        assert replay.poll() is None, "the replay was over before the primary was killed: nothing was tried"
        assert replay.wait(timeout=180) == 0
    finally:
        if replay.poll() is None:
            replay.kill()
            replay.wait(timeout=10)
    report = json.loads(report_file.read_text())
    assert report["failed"] == 0
    assert report["orders"]["placed"] == report["orders"]["sent"]
    cluster.until_well(timeout_s=120)
    there = orders_by_invoice(cluster, source)
    assert set(there.values()) == {1}
    assert len(there) == report["orders"]["sent"]
