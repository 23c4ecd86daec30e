"""Benchmarks: a short run of each, and that product and reference write the same rows. Nothing here judges a speed."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from standfest.cli.own_client import BENCH, own_key
from standfest.cli.schema import conninfo
from standfest.cluster.access import app_access, owner_access
from standfest.cluster.binaries import find_binaries
from standfest.cluster.handle import connected
from standfest.cluster.home import Home
from standfest.cluster.secrets import Secrets
from standfest.scaling.bench.rounds import Plan, Rounds
from standfest.scaling.bench.target import prepare
from tests.support.cluster import LocalCluster

NAMES = ("file", "orders", "hot", "journal", "reads")
BENCH_TIMEOUT_S = 400
SIZE_TOLERANCE = 0.1
TABLES = {
    "orders": "orders.idempotency_key LIKE %s",
    "order_line": "order_ref IN (SELECT id FROM orders WHERE idempotency_key LIKE %s)",
    "order_event": "order_ref IN (SELECT id FROM orders WHERE idempotency_key LIKE %s)",
    "change": "order_id IN (SELECT order_id FROM orders WHERE idempotency_key LIKE %s)",
}


def test_a_short_run_has_every_figure(tmp_path: Path) -> None:
    """Each figure is there beside its goal, orders were counted in the database, and no process is left."""
    home = tmp_path / "home"
    short = ("--seconds", "1", "--clients", "8", "--rounds", "1", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "standfest", "bench", *NAMES, *short],
        env={**os.environ, "STANDFEST_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=BENCH_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert tuple(each["name"] for each in told["benches"]) == NAMES
    figures = {figure["what"]: figure for each in told["benches"] for figure in each["figures"]}
    assert len(figures) == 11
    assert all(figure["goal"] and figure["max"] >= figure["median"] >= figure["min"] for figure in figures.values())
    assert figures["pieces sold that are not there"]["max"] == 0
    assert {"api", "postgres", "etcd", "journal", "load"} <= set(told["benches"][1]["parts"])
    assert not (home / "drills" / "cluster").exists()


@pytest.fixture(scope="module")
def written(cluster: LocalCluster) -> Iterator[tuple[str, str, str]]:
    """Orders of the product and of the reference: how their keys begin, and where they are."""
    cluster.until_well()
    home = Home(cluster.home)
    owner = conninfo(owner_access(cluster.topology, Secrets(home.secrets)))
    doors = [door.url for door in cluster.topology.doors]

    async def write() -> tuple[str, str, str]:
        async with connected(home, cluster.topology) as parts:
            key = await own_key(home.secrets, BENCH, owner, doors)
            app = conninfo(app_access(cluster.topology, parts.secrets))
            target = await prepare(parts, find_binaries("").postgres_bin / "pgbench", app, owner, BENCH, key)
            rounds = Rounds(target, Plan(run="rows", seconds=1, clients=4, rounds=1, tell=lambda _: None))
            load = rounds.load(target.apis)
            sent = await rounds.place(load)
            assert sent.acknowledged > 50
            await rounds.reference(4)
        return load.run, f"rows-{rounds.loads:03d}", owner

    yield asyncio.run(write())
    with psycopg.connect(owner) as connection:
        connection.execute("DROP SCHEMA reference CASCADE")


@pytest.mark.parametrize("table", TABLES)
def test_product_and_reference_write_the_same_rows(written: tuple[str, str, str], table: str) -> None:
    """As many rows an order, the same columns filled, and each of them as large."""
    product, reference, owner = written
    with psycopg.connect(owner) as connection:
        of_product = columns(connection, table, product)
        connection.execute("SET search_path = reference")
        of_reference = columns(connection, table, reference)
    assert set(of_product) == set(of_reference)
    for column, (filled, size) in of_product.items():
        filled_too, size_too = of_reference[column]
        assert filled == pytest.approx(filled_too), column
        assert size == pytest.approx(size_too, rel=SIZE_TOLERANCE, abs=1), column


def columns(connection: psycopg.Connection[Any], table: str, run: str) -> dict[str, tuple[float, float]]:
    """Of each column: values that are there an order, and their mean size in bytes."""
    named = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
    names = [name for (name,) in connection.execute(named, [table]).fetchall()]
    measured = sql.SQL(", ").join(
        sql.SQL("count({0}), coalesce(avg(pg_column_size({0})), 0)").format(sql.Identifier(name)) for name in names
    )
    query = sql.SQL("SELECT (SELECT count(*) FROM orders WHERE idempotency_key LIKE %s), {} FROM {} WHERE {}").format(
        measured, sql.Identifier(table), sql.SQL(TABLES[table])
    )
    (row,) = connection.execute(query, [f"{run}-%", f"{run}-%"]).fetchall()
    orders, *values = map(float, row)
    assert orders, f"no orders of {run}"
    return {name: (values[2 * n] / orders, values[2 * n + 1]) for n, name in enumerate(names)}
