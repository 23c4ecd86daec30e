"""A stock row that somebody holds locked keeps the orders of its product waiting, and nobody else's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import uuid4

import httpx
import psycopg
import pytest

from standfest.intake import commit_times
from standfest.intake.locks import LOCK_WAIT_MS, patience_s
from tests.integration.test_api_orders import new_product, place
from tests.support.api import RunningApi, order_body, running_api
from tests.support.postgres import TestDatabase
from tests.support.waiting import wait_until

TIMEOUT_S = 20.0
OTHERS = 36


@pytest.fixture
def api(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApi]:
    """An API on a database of this test, which takes a machine that is busy for no database that is away."""
    monkeypatch.setattr(commit_times, "SILENCE_MIN_S", 2.0)
    monkeypatch.setattr(commit_times, "ATTEMPT_MIN_S", 2.5)
    with running_api(database) as running:
        yield running


def _paths(answers: list[httpx.Response]) -> list[tuple[int, str]]:
    return [(answer.status_code, answer.json()["receipt"]["path"]) for answer in answers]


def _held(api: RunningApi, sku: str) -> psycopg.Connection:
    holder = psycopg.connect(api.database.dsn("standfest_owner"))
    holder.execute("SELECT FROM stock INNER JOIN product ON id = product_id WHERE sku = %s FOR UPDATE OF stock", (sku,))
    return holder


def test_a_lock_is_waited_for_much_shorter_than_a_database_that_is_away() -> None:
    """What a lock delays is tried again before the silence counts as that of the database."""
    assert 2 * LOCK_WAIT_MS / 1000 < commit_times.SILENCE_MIN_S


@pytest.mark.parametrize(("commit_s", "wait_s"), [(0.0, 0.1), (0.02, 0.1), (0.1, 0.2), (0.3, 0.5), (5.0, 0.5)])
def test_a_locked_row_is_waited_for_as_long_as_commits_take(commit_s: float, wait_s: float) -> None:
    """Batches hold rows while they commit: on a slow machine that is no sign of somebody who keeps them."""
    assert patience_s(commit_s) == pytest.approx(wait_s)


def test_a_locked_stock_row_delays_only_orders_of_its_product(api: RunningApi) -> None:
    """While somebody holds the row of one product, orders of others are confirmed on the direct path, in company with
    orders of that product, and cancelled; that product's orders are confirmed once it is free, none is lost."""
    with api.client() as admin, ThreadPoolExecutor(48) as pool:
        locked, free = new_product(admin), [new_product(admin, on_hand="1000") for _ in range(4)]
        before = place(admin, free[0])
        assert before.status_code == 201
        with _held(api, locked) as holder:
            waiting: list[Future[httpx.Response]] = []
            answers: list[httpx.Response] = []
            for turn in range(OTHERS // 4):
                waiting.append(pool.submit(place, admin, locked))
                answers += pool.map(lambda sku: place(admin, sku), [free[(turn + n) % 4] for n in range(4)])
            cancelled = admin.post(
                f"{before.headers['Location']}/cancel", json={}, headers={"Idempotency-Key": str(uuid4())}
            )
            holder.rollback()
        late = [answer.result(TIMEOUT_S) for answer in waiting]
        assert _paths(answers) == [(201, "direct")] * OTHERS
        assert cancelled.status_code == 200, cancelled.text
        assert {answer.status_code for answer in late} <= {201, 202}
        assert api.services.intake.turns == 0
        assert int(admin.get(f"/v1/stock/{locked}").json()["reserved"]) == sum(a.status_code == 201 for a in late)


def test_an_order_of_locked_and_other_products_waits(api: RunningApi) -> None:
    """An order that needs the locked row among others is confirmed on the direct path once the row is free."""
    with api.client() as admin, ThreadPoolExecutor(2) as pool:
        locked, free = new_product(admin), new_product(admin, on_hand="1000")
        stop = threading.Event()

        def others() -> set[int]:
            statuses = set()
            while not stop.is_set():
                statuses.add(place(admin, free).status_code)
            return statuses

        with _held(api, locked) as holder, contextlib.ExitStack() as stack:
            stack.callback(stop.set)
            traffic = pool.submit(others)
            body = order_body((free, "1"), (locked, "1"))
            headers = {"Idempotency-Key": str(uuid4())}
            order = pool.submit(admin.post, "/v1/orders", json=body, headers=headers)
            wait_until(lambda: bool(api.services.intake._locks._held), "the row is known to be held", TIMEOUT_S)
            assert not order.done()
            holder.rollback()
            answer = order.result(TIMEOUT_S)
        assert traffic.result(TIMEOUT_S) == {201}
        assert _paths([answer]) == [(201, "direct")]


def test_an_order_whose_product_stays_locked_goes_to_the_journal(api: RunningApi) -> None:
    """Where the row is held on and nothing else is committed, the order is accepted by the journal, and the process
    stays on the direct path."""
    with api.client() as admin:
        locked, free = new_product(admin), new_product(admin)
        with _held(api, locked):
            assert _paths([place(admin, locked)]) == [(202, "journal")]
            assert _paths([place(admin, free)]) == [(201, "direct")]
        assert api.services.intake.turns == 0
