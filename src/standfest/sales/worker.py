"""The worker: what is done for orders in the background, in a loop that costs next to nothing when idle."""

import asyncio
import contextlib

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from standfest.errors import StandfestError
from standfest.sales.backorders import DEFECTS, ORDERS_MAX, confirm_backorders
from standfest.storage.database import Database
from standfest.telemetry.failures import facts_of

INTERVAL_S = 1.0
PAUSE_MAX_S = 8.0
"""The longest pause while the database is away."""

_log = structlog.get_logger(__name__)


class WorkerAddressTaken(StandfestError):
    """The worker's own address cannot be listened on."""


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
            await _wait(stop, pause_s)
            pause_s, orders_max = min(2 * pause_s, PAUSE_MAX_S), max(orders_max // 2, 1)
            continue
        pause_s, orders_max = INTERVAL_S, min(2 * orders_max, ORDERS_MAX)
        metrics.last_round.set_to_current_time()
        metrics.supplied.labels("confirmed").inc(batch.confirmed)
        metrics.supplied.labels("backordered").inc(batch.supplied_in_part)
        metrics.failed_orders.inc(batch.failed)
        if not batch.more:
            await _wait(stop, INTERVAL_S)


async def run_worker(database: Database, host: str, port: int, stop: asyncio.Event) -> None:
    """Works, and answers /livez and /metrics on `host`:`port`, until `stop` is set. Closes the database.

    Raises:
        WorkerAddressTaken: nothing can listen on the address.
    """
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    runner = web.AppRunner(_app(registry), access_log=None)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        await work(database, metrics, stop)
    finally:
        await runner.cleanup()
        await database.close()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise WorkerAddressTaken(
            f"the worker cannot listen on {host}:{port}: {error.strerror}; see who has it with `ss -ltnp`"
        ) from error


def _app(registry: CollectorRegistry) -> web.Application:
    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def show_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/metrics", show_metrics)])
    return app


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
