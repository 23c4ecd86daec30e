"""Backordered orders are served in the background, in a loop that costs next to nothing when idle."""

import asyncio

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from standfest.sales.backorders import DEFECTS, ORDERS_MAX, confirm_backorders
from standfest.storage.database import Database
from standfest.storage.deadline import pause
from standfest.telemetry.failures import facts_of

INTERVAL_S = 1.0
PAUSE_MAX_S = 8.0
"""The longest pause while the database is away."""

_log = structlog.get_logger(__name__)


class WorkerMetrics:
    """What a worker tells Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.supplied = Counter(
            "standfest_backorders_supplied_total",
            "Backordered orders that goods were reserved for, by what became of them.",
            ["status"],
            registry=registry,
        )
        self.failures = Counter(
            "standfest_worker_failures_total",
            "Rounds that failed, mostly because the database was away or did not answer.",
            registry=registry,
        )
        self.failed_orders = Counter(
            "standfest_backorders_failed_total",
            "Backordered orders that could not be written by themselves either; the log says why.",
            registry=registry,
        )
        self.last_round = Gauge(
            "standfest_worker_last_round_timestamp_seconds",
            "When a round last ended well, in seconds since 1970.",
            registry=registry,
        )


async def work(database: Database, metrics: WorkerMetrics, stop: asyncio.Event) -> None:
    """Confirms backordered orders until `stop` is set; a batch that is under way is ended first.

    After a round that failed it tries again with half as many orders, after a pause that doubles up to
    `PAUSE_MAX_S`. No failure ends it: it is logged and counted.
    """
    pause_s, orders_max = INTERVAL_S, ORDERS_MAX
    while not stop.is_set():
        try:
            batch = await confirm_backorders(database, orders_max)
        except DEFECTS as error:
            metrics.failures.inc()
            _log.warning("worker_round_failed", **facts_of(error), orders_max=orders_max, next_in_s=pause_s)
            await pause(pause_s, stop)
            pause_s, orders_max = min(2 * pause_s, PAUSE_MAX_S), max(orders_max // 2, 1)
            continue
        pause_s, orders_max = INTERVAL_S, min(2 * orders_max, ORDERS_MAX)
        metrics.last_round.set_to_current_time()
        metrics.supplied.labels("confirmed").inc(batch.confirmed)
        metrics.supplied.labels("backordered").inc(batch.supplied_in_part)
        metrics.failed_orders.inc(batch.failed)
        if not batch.more:
            await pause(INTERVAL_S, stop)
