"""What an API process measures of itself."""

from collections.abc import Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from standfest.domain.synthetic import SYNTHETIC_CLIENT
from standfest.interfaces.api.readiness import Readiness
from standfest.telemetry import names

Metric = TypeVar("Metric", Counter, Histogram)

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ApiMetrics:
    """Counters and gauges of one process, in a registry of their own."""

    def __init__(self, readiness: Readiness, collectors: Sequence[Collector] = ()) -> None:
        """`collectors`: figures of other parts, shown with these."""
        self.registry = CollectorRegistry()
        self._known: dict[tuple[Any, tuple[str | int, ...]], Any] = {}
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(names.HTTP_REQUESTS, "Answers", ("operation", "status"), registry=self.registry)
        self._seconds = Histogram(
            names.HTTP_SECONDS,
            "Time from a request's headers to the end of its answer",
            ("operation",),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = Gauge(names.HTTP_IN_FLIGHT, "Requests that are being worked on", registry=self.registry)
        self.shed = Counter(names.HTTP_SHED, "Requests refused because too many were in flight", registry=self.registry)
        self._orders = Counter(
            names.ORDERS_ANSWERED, "Durable answers to orders", ("status", "repeated"), registry=self.registry
        )
        lag = Gauge(names.EVENT_LOOP_LAG_SECONDS, "Lateness of the event loop", registry=self.registry)
        lag.set_function(lambda: readiness.lag_s)
        draining = Gauge(names.DRAINING, "1 while no new traffic is wanted", registry=self.registry)
        draining.set_function(lambda: float(readiness.draining))
        for collector in collectors:
            self.registry.register(collector)

    def count_request(self, operation: str, status: int, seconds: float) -> None:
        """Counts an answer, and how long it took."""
        self._labelled(self._requests, operation, status).inc()
        self._labelled(self._seconds, operation).observe(seconds)

    def count_order(self, client_id: UUID, status: str, *, repeated: bool) -> None:
        """Counts a durable answer to an order. Synthetic orders are nobody's business, and no figure of it."""
        if client_id != SYNTHETIC_CLIENT:
            self._labelled(self._orders, status, "true" if repeated else "false").inc()

    def _labelled(self, metric: Metric, *values: str | int) -> Metric:
        """The metric with these values of its labels: looking it up in the library takes longer than counting."""
        key = (metric, values)
        if (found := self._known.get(key)) is None:
            found = self._known[key] = metric.labels(*values)
        return cast("Metric", found)
