"""Replaying files against a small order API behind real sockets: what arrives there and what is reported."""

import asyncio
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner
from rich.console import Console

from standfest.cli.replay import load, replay, send, table
from standfest.clients.attempts import RetryPolicy
from standfest.emergency.drills.replay.plan import Plan, PlannedOrder, make_plan
from standfest.emergency.drills.replay.rows import COLUMNS, open_file, read_rows
from standfest.emergency.drills.replay.run import KeyRefused
from tests.support.fake_api import FakeApi, problem, serving

REAL_FILE = Path(__file__).parents[3] / "shared" / "data" / "online_retail.csv.gz"


def run(
    api: FakeApi, plan: Plan, *, speed: float | None = None, before: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Replays the plan through two doors; `before` is called when the first step has its answer."""
    called: list[None] = []

    def advance() -> None:
        if not called:
            called.append(None)
            before()

    async def through_doors() -> dict[str, Any]:
        async with serving(api) as urls:
            return await send(urls, "secret", plan, "test", 16, speed, advance)

    return asyncio.run(through_doors())


def generated(count: int = 150) -> Plan:
    """The plan of a made-up file, always the same one."""
    return load(None, count, 1)[1]


def assert_state(api: FakeApi, plan: Plan) -> None:
    """Each planned order is there once, and what is reserved is what was placed less what was cancelled."""
    orders = [step for step in plan.steps if isinstance(step, PlannedOrder)]
    assert Counter(order["external_reference"] for order in api.orders.values()) == Counter(
        order.invoice for order in orders
    )
    placed = Counter[str]()
    for order in orders:
        placed.update({line.sku: 0 for line in order.lines})
        for line in order.lines:
            placed[line.sku] += line.quantity
    by_invoice = {order.invoice: order for order in orders}
    for step in plan.steps:
        if not isinstance(step, PlannedOrder):
            for part in step.parts:
                placed[by_invoice[step.order].lines[part.line].sku] -= part.quantity
    tracked = {product.sku for product in plan.products if product.tracked}
    assert {sku: pieces for sku, pieces in placed.items() if sku in tracked} == api.reserved


def test_every_row_is_accounted_for_and_arrives_once() -> None:
    """A made-up file is placed and cancelled as planned, through both doors, and the report adds up."""
    api, plan = FakeApi(), generated()
    report = run(api, plan)
    assert report["ok"]
    assert report["failed"] == 0
    buckets = ("placed", "cancelled", "cancelled_in_part", "refused", "rejected", "failed")
    assert sum(report[bucket] for bucket in buckets) == report["rows"] == plan.rows
    assert report["orders"] == {"sent": len(api.orders), "placed": len(api.orders)}
    assert_state(api, plan)


def test_the_report_for_people_says_what_the_one_for_machines_says() -> None:
    """Each bucket and each reason is a row of the table, with its count."""
    report = run(FakeApi(), generated())
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table(report))
    shown = {tuple(re.split(r" *[│┃] *", line.strip("│┃ "))) for line in console.export_text().splitlines()}
    for bucket in ("placed", "cancelled", "cancelled_in_part", "refused", "rejected", "failed"):
        assert (f"rows {bucket.replace('_', ' ')}", f"{report[bucket]:,}") in shown
    for reason, count in report["reasons"]["refused"].items():
        assert (reason, f"{count:,}") in shown


def test_the_second_run_changes_nothing() -> None:
    """Replaying again sends the same requests under the same keys: the same report, and no write."""
    api, plan = FakeApi(), generated()
    first = run(api, plan)
    writes, orders, on_hand = api.writes, json.dumps(api.orders), dict(api.on_hand)
    second = run(api, generated())
    assert (api.writes, json.dumps(api.orders), api.on_hand) == (writes, orders, on_hand)
    assert second["catalogue"]["products_changed"] == second["catalogue"]["stock_counts_changed"] == 0
    assert second["orders"].pop("repeated") == len(api.orders)
    for report in (first, second):
        del report["speed"], report["catalogue"]
    assert first == second


def test_lost_answers_and_pauses_cost_nothing() -> None:
    """With answers lost after an order was taken, and 503 in between, the file arrives exactly once."""
    api, plan = FakeApi(), generated(60)

    async def hostile(request: web.Request, number: int) -> web.StreamResponse | None:
        if number % 7 == 0:
            await api.answer(request)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return problem(503, "unavailable", {"Retry-After": "0"}) if number % 5 == 0 else None

    api.hook = hostile
    report = run(api, plan)
    assert report["ok"]
    assert report["speed"]["repeats"] > 10
    assert_state(api, plan)


def test_declined_orders_take_their_rows_and_cancellations_along() -> None:
    """Orders that meet a shortage are refused with the reason, and so are the cancellations of them."""
    api, plan = FakeApi(), generated()

    def sell_out() -> None:
        api.on_hand = dict.fromkeys(api.on_hand, 0)

    report = run(api, plan, before=sell_out)
    assert report["ok"]
    assert report["orders"]["declined"] > 0
    assert report["reasons"]["refused"]["the API refused the order: 409 out-of-stock"] > 0
    assert report["reasons"]["refused"]["the order that it cancels was refused"] > 0


def test_an_order_without_an_answer_fails_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that never gets a definite answer makes its rows failed, and stops no other."""
    monkeypatch.setattr("standfest.cli.replay.POLICY", RetryPolicy(deadline_s=1.0))
    api, plan = FakeApi(), generated(20)
    victim = next(step for step in plan.steps if isinstance(step, PlannedOrder))

    async def never(request: web.Request, _: int) -> web.StreamResponse | None:
        lost = request.headers.get("Idempotency-Key") == victim.key
        return problem(504, "outcome-unknown") if lost else None

    api.hook = never
    report = run(api, plan)
    assert not report["ok"]
    assert report["failed"] >= len(victim.lines)
    assert report["reasons"]["failed"]["no definite answer to the order: 504 outcome-unknown"] == len(victim.lines)
    assert len(api.orders) == report["orders"]["sent"] - 1


def test_a_refusal_is_named_and_fails_the_replay() -> None:
    """An order that the API refuses, for no shortage, makes its rows rejected; the report says why and is not good."""
    api, plan = FakeApi(), generated(20)
    victim = next(step for step in plan.steps if isinstance(step, PlannedOrder))

    async def refuse(request: web.Request, _: int) -> web.StreamResponse | None:
        refused = request.headers.get("Idempotency-Key") == victim.key
        return problem(422, "idempotency-key-reused") if refused else None

    api.hook = refuse
    report = run(api, plan)
    assert not report["ok"]
    assert report["reasons"]["rejected"]["the API refused the order: 422 idempotency-key-reused"] == len(victim.lines)
    assert report["orders"]["rejected"] == 1


@pytest.mark.parametrize(("status", "slug"), [(401, "unauthenticated"), (403, "forbidden")])
def test_a_refused_key_ends_the_replay(status: int, slug: str) -> None:
    """Where the key is revoked, or lacks a scope, the replay ends at once with an error: no row is judged by it."""
    api, plan = FakeApi(), generated()

    async def refuse(request: web.Request, number: int) -> web.StreamResponse | None:
        return problem(status, slug) if request.method == "POST" and number > 20 else None

    api.hook = refuse
    with pytest.raises(KeyRefused, match=f"refuses the key .{status} {slug}"):
        run(api, plan)
    assert api.requests < 60 < len(plan.steps)


def test_speed_keeps_the_files_pace() -> None:
    """With a speed the last order leaves no earlier than the file's span divided by it."""
    plan = generated(10)
    span_s = (plan.steps[-1].at - plan.steps[0].at).total_seconds()
    report = run(FakeApi(), plan, speed=span_s / 1.0)
    assert report["speed"]["seconds"] >= 1.0


def test_a_refused_catalogue_sends_no_order() -> None:
    """Where the key may not put products, the replay ends before the first order and says why."""
    api = FakeApi()

    async def forbidden(_: web.Request, __: int) -> web.StreamResponse | None:
        return problem(403, "forbidden")

    api.hook = forbidden
    with pytest.raises(Exception, match="products could not be put: 403 forbidden"):
        run(api, generated(5))
    assert api.requests == 1


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong usage, no cluster, no key, a file of another kind: each is named, with exit code 2."""
    monkeypatch.setenv("STANDFEST_HOME", str(tmp_path))
    assert CliRunner().invoke(replay, []).exit_code == 2
    door = ["--door", "http://127.0.23.250:9"]
    assert CliRunner().invoke(replay, ["--generate", "5", *door]).exit_code == 2
    no_cluster = CliRunner().invoke(replay, ["--generate", "5"]).exception
    assert getattr(no_cluster, "exit_code", None) == 2
    assert "there is no cluster in" in str(no_cluster)
    no_key = CliRunner().invoke(replay, ["--generate", "5", *door, "--key-file", str(tmp_path / "no")]).exception
    assert getattr(no_key, "exit_code", None) == 2
    assert "no client key in" in str(no_key)
    (tmp_path / "key").write_text("k\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    options = [*door, "--key-file", str(tmp_path / "key")]
    other = CliRunner().invoke(replay, [str(tmp_path / "other.csv"), *options]).exception
    assert getattr(other, "exit_code", None) == 2
    assert COLUMNS[0] in str(other)


@pytest.mark.skipif(not REAL_FILE.exists(), reason="the wholesaler's file is not beside the repository")
def test_the_real_file_is_planned_whole() -> None:
    """Of the real file every row is a line, a cancellation, or refused for one of four reasons."""
    with open_file(REAL_FILE) as lines:
        plan = make_plan(read_rows(lines))
    orders = [step for step in plan.steps if isinstance(step, PlannedOrder)]
    assert plan.rows == 245_903
    assert len(orders) == 9_659
    assert Counter(reason.partition(":")[0] for reason in plan.refused.values()) == {
        "a stock write-off": 758,
        "the price is zero": 720,
        "a cancellation without a customer": 253,
        "a cancellation for which no earlier order of the customer has pieces of this code left": 936,
    }
    in_orders = sum(len(order.lines) for order in orders)
    in_cancellations = sum(row not in plan.refused for row in plan.asked)
    assert in_orders + in_cancellations + len(plan.refused) == plan.rows
