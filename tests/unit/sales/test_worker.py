"""The worker's rounds: nothing that fails in one ends them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from standfest.sales import worker
from standfest.sales.backorders import ORDERS_MAX, Batch
from standfest.sales.errors import VersionsBroken
from standfest.sales.worker import WorkerMetrics, work
from standfest.storage.database import Database
from standfest.storage.errors import DatabaseUnavailable


async def test_a_round_that_fails_is_counted_and_tried_again_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever PostgreSQL or the product's own checks say: half as many orders next time, more again later."""
    rounds: list[Exception | Batch] = [
        psycopg.errors.UndefinedColumn("column x does not exist"),
        VersionsBroken("an order has another version"),
        DatabaseUnavailable("no primary"),
        Batch(1, 0, more=True, failed=1),
        Batch(0, 0, more=False),
    ]
    stop, sizes = asyncio.Event(), []

    async def confirm(_database: Database, orders_max: int) -> Batch:
        sizes.append(orders_max)
        outcome = rounds.pop(0)
        if not rounds:
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(worker, "INTERVAL_S", 0.001)
    monkeypatch.setattr(worker, "confirm_backorders", confirm)
    registry = CollectorRegistry()
    async with asyncio.timeout(60):
        await work(cast("Any", None), WorkerMetrics(registry), stop)
    assert sizes == [ORDERS_MAX, ORDERS_MAX // 2, ORDERS_MAX // 4, ORDERS_MAX // 8, ORDERS_MAX // 8 * 2]
    assert registry.get_sample_value("standfest_worker_failures_total") == 3
    assert registry.get_sample_value("standfest_backorders_failed_total") == 1
