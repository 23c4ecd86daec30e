"""The API as a process: health, readiness, outages of the database, overload, and its end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn
from uuid import uuid4

import httpx
import pytest

from standfest.storage.errors import DatabaseUnavailable
from tests.integration.test_api_orders import new_product, place
from tests.support.api import RunningApi, running_api, shared_journal
from tests.support.postgres import PostgresCluster, TestDatabase
from tests.support.waiting import wait_until


@pytest.fixture
def api(database: TestDatabase) -> Iterator[RunningApi]:
    """An API on a database of this test."""
    with running_api(database, order_deadline_s=1.5, read_deadline_s=1.0, write_deadline_s=1.5) as running:
        yield running


def test_health_names_each_dependency(api: RunningApi) -> None:
    """A healthy process says so, without a key, and shows its figures."""
    health = httpx.get(f"{api.url}/v1/health").json()
    assert (health["status"], health["node"], health["ready"]) == ("ok", "n1", True)
    assert {entry["name"]: entry["state"] for entry in health["dependencies"]} == {"database": "ok", "catalogue": "ok"}
    assert httpx.get(f"{api.url}/livez").status_code == 200
    figures = httpx.get(f"{api.url}/metrics").text
    assert 'standfest_http_requests_total{operation="health",status="200"} 1.0' in figures
    assert "standfest_event_loop_lag_seconds" in figures


def test_every_answer_carries_its_id_and_what_browsers_must_not_do(api: RunningApi) -> None:
    """A request id that is given is kept, a strange one replaced; nothing is cached or sniffed."""
    given = httpx.get(f"{api.url}/v1/nothing", headers={"X-Request-Id": "trace-1"})
    strange = httpx.get(f"{api.url}/v1/nothing", headers={"X-Request-Id": "a b"})
    assert given.headers["X-Request-Id"] == given.json()["request_id"] == "trace-1"
    assert strange.headers["X-Request-Id"] not in ("", "a b")
    assert given.headers["Cache-Control"] == "no-store"
    assert given.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in given.headers


def test_head_is_get_without_the_body(api: RunningApi) -> None:
    """HEAD answers as GET does, and OPTIONS names the methods of a path."""
    with api.client() as admin:
        sku = new_product(admin)
        head, get = admin.head(f"/v1/products/{sku}"), admin.get(f"/v1/products/{sku}")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == str(len(get.content))
        assert admin.head("/v1/products/nothing").status_code == 404
        assert admin.options("/v1/orders").headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_a_lost_database_takes_nobody_out_of_the_doors(disposable_postgres: PostgresCluster) -> None:
    """With the primary gone orders are accepted (202) and found, what cannot be known is 503 and not wrong,
    and the process stays ready while health says what is the matter."""
    database = disposable_postgres.create_database()
    with running_api(database, read_deadline_s=1.0) as api, api.client() as admin:
        sku, key = new_product(admin), str(uuid4())
        assert place(admin, sku).status_code in (201, 202)  # the product is known
        disposable_postgres.kill_primary()
        placed = place(admin, sku, key=key)
        assert placed.status_code == 202, placed.text
        order = placed.json()
        assert (order["status"], order["receipt"]["path"], order["receipt"]["promise"]) == (
            "accepted", "journal", "accepted",
        )  # fmt: skip
        location = placed.headers["Location"]
        assert admin.get(location).json() == order
        assert admin.get(f"{location}/events").json() == {"events": []}
        assert admin.get(f"{location}/receipt").json()["receipt"] == order["receipt"]
        assert place(admin, sku, key=key).json() == order
        assert place(admin, sku, "2", key=key).status_code == 504  # only the database knows whose the key is
        cancel = admin.post(f"{location}/cancel", json={}, headers={"Idempotency-Key": key})
        unknown = (cancel, admin.get(f"/v1/orders/{uuid4()}"), place(admin, "not known here"), admin.get("/v1/orders"))
        assert [(each.status_code, each.headers.get("Retry-After")) for each in unknown] == [(503, "1")] * 4
        stranger = httpx.get(f"{api.url}/v1/orders", headers={"Authorization": "Bearer sf_abc_def"})
        assert stranger.status_code == 503
        assert httpx.get(f"{api.url}/readyz").status_code == 200
        began = time.monotonic()
        health = httpx.get(f"{api.url}/v1/health").json()
        assert time.monotonic() - began < 3
        assert health["status"] == "degraded"
        states = {entry["name"]: entry["state"] for entry in health["dependencies"]}
        assert states["database"] in ("unavailable", "unknown")


def test_an_order_of_one_client_is_not_there_for_another(disposable_postgres: PostgresCluster) -> None:
    """What waits in the journal is shown to its own client, and to who may read all."""
    database = disposable_postgres.create_database()
    with running_api(database, read_deadline_s=1.0) as api, contextlib.ExitStack() as stack:
        admin, own, other = (
            stack.enter_context(api.client(*scopes))
            for scopes in (("admin",), ("orders:write", "orders:read"), ("orders:write", "orders:read"))
        )
        sku = new_product(admin)
        assert place(own, sku).status_code == place(other, sku).status_code == 201  # keys and product are known
        wait_until(lambda: sku in api.services.catalogue.products, "and so is the product", 10)
        disposable_postgres.kill_primary()
        location = place(own, sku).headers["Location"]
        assert [each.get(location).status_code for each in (admin, own, other)] == [200, 200, 503]


def test_an_outcome_that_is_not_known_is_called_that(api: RunningApi) -> None:
    """While neither standby nor journal answers, an order ends in 504 with its id and number; the repeat gives it."""
    journal = shared_journal()
    with api.client() as admin:
        sku, key = new_product(admin), str(uuid4())
        assert place(admin, sku).status_code == 201
        with api.database.standby.paused(), contextlib.ExitStack() as stack:
            for member in journal.followers():
                stack.enter_context(member.paused())
            unknown = place(admin, sku, key=key)
        journal.wait_until_well()
        assert unknown.status_code == 504, unknown.text
        problem = unknown.json()
        assert problem["type"].endswith("/outcome-unknown")
        assert "same Idempotency-Key" in problem["detail"]
        again = place(admin, sku, key=key)
        assert again.status_code in (201, 202)
        assert (again.json()["id"], again.json()["number"]) == (problem["order_id"], problem["number"])


def test_a_node_that_cannot_commit_shows_nothing_and_calls_nothing_missing(api: RunningApi) -> None:
    """A primary without a standby may have been replaced, and what it alone has may be lost with it: what it finds is
    503 as what it does not find is, no receipt is signed, and the feed gives no cursor."""
    with api.client() as admin:
        sku = new_product(admin)
        there, missing = place(admin, sku).headers["Location"], f"/v1/orders/{uuid4()}"
        key = {"Idempotency-Key": str(uuid4())}
        assert admin.post(f"{missing}/cancel", json={}, headers=key).status_code == 404
        found = [f"{there}{part}" for part in ("", "/events", "/receipt")]
        found += [f"/v1/products/{sku}", f"/v1/stock/{sku}", "/v1/products", "/v1/orders", "/v1/changes"]
        not_found = [f"{missing}{part}" for part in ("", "/events", "/receipt")]
        not_found += [f"/v1/products/{uuid4()}", f"/v1/stock/{uuid4()}"]
        for things, status in ((found, 200), (not_found, 404)):
            assert {thing: admin.get(thing).status_code for thing in things} == dict.fromkeys(things, status)
        with api.database.standby.paused():
            answers = [admin.get(thing) for thing in found + not_found]
            answers.append(admin.post(f"{missing}/cancel", json={}, headers=key))
            assert [(each.status_code, each.headers.get("Retry-After")) for each in answers] == [(503, "1")] * len(
                answers
            )
        wait_until(lambda: admin.get(f"{there}/receipt").status_code == 200, "it is shown again", 20)


def test_a_durable_order_is_answered_without_another_read(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a repeat's commit is durable, nothing more is asked of the database that could turn it into a 503."""

    def away(_deadline_s: float) -> NoReturn:
        raise DatabaseUnavailable("reads fail")

    with api.client() as admin:
        sku, key = new_product(admin), str(uuid4())
        first = place(admin, sku, key=key)
        cancel = admin.post(f"{first.headers['Location']}/cancel", json={}, headers={"Idempotency-Key": key})
        assert cancel.status_code == 200
        monkeypatch.setattr(api.services.database, "read", away)
        again = place(admin, sku, key=key)
        assert again.status_code == 201, again.text
        assert again.json()["status"] == "cancelled"
        assert again.json()["receipt"] == first.json()["receipt"]


def test_what_is_not_valid_is_refused_only_where_that_holds(api: RunningApi) -> None:
    """An order for what is not known here may be a repeat: without a standby that is unknown, not invalid."""
    with api.client() as admin:
        assert admin.get("/v1/products").status_code == 200
        with api.database.standby.paused():
            unknown = place(admin, "not known here")
        assert unknown.status_code in (503, 504), unknown.text
        wait_until(lambda: place(admin, "not known here").status_code == 422, "refused as not valid", 20)


def test_a_catalogue_that_is_too_old_lets_nobody_in(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that may be revoked by now and prices that may have changed count no more: 503, what to do about it, and
    health and figures say so; the process stays at the doors, where it can answer at all."""
    age_max_s = 5.0
    with running_api(database, catalogue_age_max_s=age_max_s) as api, api.client() as admin:
        assert admin.get("/v1/products").status_code == 200
        monkeypatch.setattr(api.services.database, "read", _away)
        wait_until(lambda: api.services.catalogue.age_s > age_max_s, "it is too old", 20)
        for answer in (place(admin, "apple"), admin.get("/v1/products")):
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json()["type"].endswith("/unavailable")
            assert "standfest status" in answer.json()["detail"]
        health = httpx.get(f"{api.url}/v1/health").json()
        [catalogue] = [entry for entry in health["dependencies"] if entry["name"] == "catalogue"]
        assert (health["status"], catalogue["state"], catalogue["age_max_s"]) == ("degraded", "unavailable", age_max_s)
        assert f"standfest_catalogue_age_max_seconds {age_max_s}" in httpx.get(f"{api.url}/metrics").text
        assert httpx.get(f"{api.url}/readyz").status_code == 200


def _away(deadline_s: float) -> NoReturn:
    raise DatabaseUnavailable(f"away, however long one waits ({deadline_s} s)")


def test_health_tells_strangers_no_particulars(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the database said, with addresses and names of roles, is for the log."""

    def away(_deadline_s: float) -> NoReturn:
        raise DatabaseUnavailable('PostgreSQL at 10.1.2.3:5432: password failed for role "standfest_app"')

    monkeypatch.setattr(api.services.database, "read", away)
    health = httpx.get(f"{api.url}/v1/health").text
    assert "unavailable" in health
    assert "10.1.2.3" not in health
    assert "standfest_app" not in health


def test_a_process_sheds_what_it_cannot_hold(database: TestDatabase) -> None:
    """Beyond the bound a request is not attempted: 429 with Retry-After, and probes are still answered."""
    with (
        running_api(database, order_deadline_s=15, in_flight_max=1) as api,
        api.client() as admin,
        ThreadPoolExecutor() as pool,
    ):
        sku = new_product(admin)
        assert place(admin, sku).status_code in (201, 202)  # the product is known
        journal = shared_journal()
        with api.database.standby.paused(), contextlib.ExitStack() as stack:
            for member in journal.followers():
                stack.enter_context(member.paused())
            waiting = pool.submit(place, admin, sku)
            wait_until(lambda: api.api.in_flight == 1, "one order waits for standby and journal", 5)
            shed = httpx.post(f"{api.url}/v1/orders")
            assert (shed.status_code, shed.headers["Retry-After"]) == (429, "1")
            assert httpx.get(f"{api.url}/readyz").status_code == 200
        assert waiting.result().status_code in (201, 202)
        figures = httpx.get(f"{api.url}/metrics").text
        assert 'standfest_orders_answered_total{repeated="false",status="confirmed"}' in figures
        assert "standfest_http_requests_shed_total 1.0" in figures


def test_the_end_disturbs_nobody(database: TestDatabase) -> None:
    """Told to stop, the process is unready at once, serves on, finishes what is under way, and then is gone."""
    with (
        running_api(database, drain_s=1, order_deadline_s=15) as api,
        api.client() as admin,
        ThreadPoolExecutor() as pool,
    ):
        sku = new_product(admin)
        assert place(admin, sku).status_code in (201, 202)  # the product is known
        journal = shared_journal()
        with api.database.standby.paused(), contextlib.ExitStack() as stack:
            for member in journal.followers():
                stack.enter_context(member.paused())
            waiting = pool.submit(place, admin, sku)
            wait_until(lambda: api.api.in_flight == 1, "one order waits for standby and journal", 5)
            api.stop()
            wait_until(lambda: httpx.get(f"{api.url}/readyz").status_code == 503, "unready", 5)
            late = httpx.get(f"{api.url}/v1/openapi.json")
            assert (late.status_code, late.headers["Connection"]) == (200, "close")
            wait_until(lambda: not _accepts(api.url), "no new connections", 5)
        assert waiting.result().status_code in (201, 202)
    journal.wait_until_well()


def _accepts(url: str) -> bool:
    try:
        httpx.get(f"{url}/livez")
    except httpx.ConnectError:
        return False
    return True


def test_the_last_pieces_are_sold_once(api: RunningApi) -> None:
    """Many clients at once buy what is there and not one piece more; the others are declined and recorded."""
    with api.client() as admin, ThreadPoolExecutor(20) as pool:
        sku = new_product(admin, on_hand="10")
        barrier = threading.Barrier(20)

        def buy(_: int) -> int:
            barrier.wait()
            return place(admin, sku).status_code

        statuses = list(pool.map(buy, range(20)))
        assert sorted(statuses) == [201] * 10 + [409] * 10
        stock = admin.get(f"/v1/stock/{sku}").json()
        assert (stock["on_hand"], stock["reserved"], stock["available"]) == ("10", "10", "0")
