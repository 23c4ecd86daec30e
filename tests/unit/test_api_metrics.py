"""What /metrics shows, and what it leaves out."""

from __future__ import annotations

from uuid import uuid4

from prometheus_client import Counter, generate_latest

from standfest.domain.synthetic import SYNTHETIC_CLIENT
from standfest.interfaces.api.metrics import ApiMetrics
from standfest.interfaces.api.readiness import Readiness


def test_synthetic_orders_are_no_business() -> None:
    """An answer to a customer's order is counted, one to the order that keeps the journal warm is not."""
    metrics = ApiMetrics(Readiness(1, lambda: False))
    for client in (uuid4(), SYNTHETIC_CLIENT, uuid4()):
        metrics.count_order(client, "accepted", repeated=False)
    shown = generate_latest(metrics.registry).decode()
    assert 'standfest_orders_answered_total{repeated="false",status="accepted"} 2.0' in shown


def test_figures_of_other_parts_are_shown_with_the_rest() -> None:
    """Whatever has `collect` can be given; a Counter of its own registry, or of none, will do."""
    counter = Counter("standfest_something_total", "Of another part", registry=None)
    counter.inc(3)
    shown = generate_latest(ApiMetrics(Readiness(1, lambda: False), (counter,)).registry).decode()
    assert "standfest_something_total 3.0" in shown
    assert "standfest_event_loop_lag_seconds" in shown
