"""The reference on a machine so slow that pgbench ends no transaction in the time that it is given."""

import asyncio
from pathlib import Path

import pytest

from standfest.scaling.bench.child import BenchFailed
from standfest.scaling.bench.reference import SECONDS_MAX, Reference, Writing

PGBENCH = """#!/bin/sh
for given; do
    case $given in --time=*) seconds=${given#*=} ;; --log-prefix=*) log=${given#*=} ;; esac
done
if [ "$seconds" -lt %d ]; then
    echo "number of transactions actually processed: 0"
    exit
fi
echo "0 0 2500 0 1 2" >"$log.1"
echo "tps = 12.5 (without initial connection time)"
"""


def writing(directory: Path, needed_s: int) -> Writing:
    """A pgbench that ends transactions only where it has so many seconds."""
    program = directory / "pgbench"
    program.write_text(PGBENCH % needed_s)
    program.chmod(0o700)
    conninfo = "host=127.0.0.1 user=nobody password=secret"
    return Writing(program, conninfo, conninfo, "client", 1)


def test_a_slow_machine_gets_more_time(tmp_path: Path) -> None:
    """Where no transaction ends in one second, pgbench gets two, four and so on, until there is a rate."""
    reached = asyncio.run(writing(tmp_path, 4).run("run", 32, 1))
    assert reached == Reference(12.5, 2.5)


def test_a_machine_that_ends_no_transaction_at_all_fails_the_benchmark(tmp_path: Path) -> None:
    """The time has a bound, and what pgbench said is told."""
    with pytest.raises(BenchFailed, match="actually processed: 0"):
        asyncio.run(writing(tmp_path, SECONDS_MAX + 1).run("run", 32, 1))
