"""Entries of fourteen unwritable kinds among many: `python -m tests.acceptance.unwritable --entries 10000`.

One in a hundred cannot be written. Three drainers, as on three nodes, drain a real etcd into a real PostgreSQL. One
line of JSON says what came out of it; the exit code is 1 where not all others were drained and the rest set apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import structlog

from standfest.clients.etcd_kv import EtcdStore
from standfest.cluster.observation import Backlog, Entries
from standfest.intake.drain import Drainer
from standfest.intake.figures import DrainFigures
from standfest.intake.journal import Journal
from standfest.redundancy.journal_verdict import entry_reasons
from standfest.storage.migrate import migrate
from tests.integration.orders import order, pool_of, query, stock_product
from tests.support.etcd import start_etcd
from tests.support.postgres import TestDatabase, start_cluster
from tests.support.unwritable import KINDS, fill, refuse_marked_orders

DRAINERS = 3
DEADLINE_S = 900.0
_ONE_IN = 100
_SIZE_MAX = 2**30
_LOOK_S = 0.2


@dataclass(frozen=True)
class Outcome:
    """What became of the entries."""

    entries: int
    unwritable: int
    drained: int
    """Orders in the database."""
    quarantined: int
    """Entries set apart in the journal."""
    left: int
    """Entries that still wait."""
    alarm: bool
    """`status`, `doctor` and `journal` give a reason for those set apart, and the drainers' metrics count them."""
    seconds: float


def run(entries: int) -> Outcome:
    """Fills a journal and drains it."""
    with start_cluster(1) as cluster:
        migrate(cluster.dsn("standfest_owner"), phase="contract", deadline_s=60)
        database = cluster.create_database()
        refuse_marked_orders(database.dsn("standfest_owner"))
        return asyncio.run(_drain(database, entries))


async def _drain(database: TestDatabase, entries: int) -> Outcome:
    pear = stock_product(database, "pear", 10 * entries)
    unwritable = max(entries // _ONE_IN, len(KINDS))
    kinds = [KINDS[number % len(KINDS)] for number in range(unwritable)]
    pool = pool_of(database)
    with start_etcd() as etcd:
        async with etcd.session() as session:
            store = EtcdStore(session, etcd.addresses, etcd.tls())
            journal = Journal(store, _SIZE_MAX)
            await fill(store, journal, [order(f"k{number}", (pear, 1)) for number in range(entries)], kinds)
            drainers = [Drainer(pool, journal) for _ in range(DRAINERS)]
            began = time.monotonic()
            await _until_nothing_waits(drainers, journal)
            seconds = time.monotonic() - began
            left, quarantined = await journal.count(5), await journal.quarantined(5)
        await pool.close()
    [(drained,)] = query(database, "SELECT count(*) FROM orders")
    reasons = list(entry_reasons(Entries(Backlog(left, None, 0.0), quarantined)))
    counted = sum(map(_set_apart, drainers))
    return Outcome(
        entries, unwritable, int(str(drained)), quarantined, left, bool(reasons) and counted >= unwritable, seconds
    )


async def _until_nothing_waits(drainers: Sequence[Drainer], journal: Journal) -> None:
    stop = asyncio.Event()
    draining = asyncio.gather(*(drainer.run(stop) for drainer in drainers))
    end = time.monotonic() + DEADLINE_S
    while await journal.count(5) and time.monotonic() < end:  # noqa: ASYNC110 - drainers tell nobody that they are done
        await asyncio.sleep(_LOOK_S)
    stop.set()
    await draining


def _set_apart(drainer: Drainer) -> float:
    return sum(
        sample.value
        for metric in DrainFigures(drainer).collect()
        for sample in metric.samples
        if sample.name == "standfest_journal_quarantined_total"
    )


def main() -> int:
    """Runs it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000, help="orders in the journal (10000)")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    outcome = run(arguments.entries)
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    done = outcome.drained == outcome.entries - outcome.unwritable and outcome.quarantined == outcome.unwritable
    return 0 if done and outcome.alarm and not outcome.left else 1


if __name__ == "__main__":
    sys.exit(main())
