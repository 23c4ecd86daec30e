"""The open-loop sender against a small order API behind real sockets: what it sends and what it records."""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from standfest.clients.attempts import RetryPolicy
from standfest.clients.orders import OrdersClient
from standfest.emergency.drills.history import HistoryWriter, read_history
from standfest.emergency.drills.traffic.generator import SMALL_ORDERS, OrderGenerator, make_products
from standfest.emergency.drills.traffic.prepare import prepare
from standfest.emergency.drills.traffic.sender import Mix, Sender
from tests.support.fake_api import FakeApi, Hook, problem, serving

PRODUCTS = make_products(40, seed=1)
POLICY = RetryPolicy(attempt_s=5.0, deadline_s=10.0, backoff_max_s=0.05)


def even(rate_per_s: float, count: int) -> Iterator[float]:
    """So many offsets in seconds at even distances."""
    return (number / rate_per_s for number in range(count))


def drive(
    path: Path,
    arrivals: Iterable[float],
    mix: Mix,
    *,
    hook: Hook | None = None,
    scarce: bool = False,
    policy: RetryPolicy = POLICY,
) -> tuple[FakeApi, list[dict[str, Any]]]:
    """Prepares and runs one schedule; returns the API's final state and the lines of the history."""
    api = FakeApi()

    async def run() -> None:
        async with (
            serving(api) as urls,
            OrdersClient(urls, "secret", policy=policy, connections=mix.inflight_max) as client,
        ):
            with HistoryWriter(path) as history:
                products = make_products(40, seed=1, scarce_share=1.0 if scarce else 0.0)
                await prepare(client, products, history)
                api.hook, api.requests = hook, 0
                generator = OrderGenerator(products, seed=1, run="run", traits=SMALL_ORDERS)
                sender = Sender(client, generator, history, mix)
                counts = await sender.run(arrivals, client="drill")
                assert counts["invoke"] == counts["ok"] + counts["fail"] + counts["unknown"]

    asyncio.run(run())
    return api, [dict(line) for line in read_history(path)]


def test_every_order_is_recorded_and_there_once(tmp_path: Path) -> None:
    """Each acknowledged key has one order with its nonce, each submission one invoke and one end."""
    api, lines = drive(tmp_path / "h", even(200.0, 100), Mix(cancel_share=0.2, read_share=1.0))
    ops = Counter(line["op"] for line in lines)
    assert ops["invoke"] == ops["ok"] == 100
    by_key = defaultdict(list)
    for line in lines:
        if line["op"] in ("invoke", "ok"):
            by_key[line["key"]].append(line)
    assert all([line["op"] for line in pair] == ["invoke", "ok"] for pair in by_key.values())
    placed = [line for line in lines if line["op"] == "ok" and line["kind"] == "place"]
    assert {line["order_id"]: line["nonce"] for line in placed} == {
        order_id: order["external_reference"] for order_id, order in api.orders.items()
    }
    assert ops["read"] == len(placed)
    assert {line["status"] for line in lines if line["op"] == "read"} == {200}
    cancelled = [line for line in lines if line["op"] == "ok" and line["kind"] == "cancel"]
    assert cancelled
    assert len({line["order_id"] for line in cancelled}) == len(cancelled)


def test_notes_frame_the_run(tmp_path: Path) -> None:
    """The opening stock is noted before the run's start, and its end carries the counts."""
    _, lines = drive(tmp_path / "h", even(100.0, 10), Mix())
    notes = [line for line in lines if line["op"] == "note"]
    assert [note["what"] for note in notes] == ["opening-stock", "start", "end"]
    assert len(notes[0]["stock"]) == sum(product.stock_policy != "untracked" for product in PRODUCTS)
    assert notes[1]["format"] == 2
    assert notes[1]["client"] == "drill"
    assert notes[2]["counts"]["ok"] == 10


def test_a_slow_answer_slows_nothing_else(tmp_path: Path) -> None:
    """The first answer is held back until every later order has arrived: they arrive all the same."""
    others_came = asyncio.Event()

    async def first_waits_for_the_others(_: web.Request, number: int) -> web.StreamResponse | None:
        if number == 25:
            others_came.set()
        if number == 1:
            await others_came.wait()
        return None

    _, lines = drive(tmp_path / "h", even(100.0, 25), Mix(), hook=first_waits_for_the_others)
    ends = [line for line in lines if line["op"] == "ok"]
    assert [line["attempts"] for line in ends] == [1] * 25


def test_beyond_the_bound_arrivals_are_shed(tmp_path: Path) -> None:
    """Arrivals beyond the bound under way are recorded as shed, and never sent."""

    all_came = asyncio.Event()

    def arrivals() -> Iterator[float]:
        yield from even(1000.0, 20)
        all_came.set()  # asked for another one, the sender has dealt with the last

    async def hold(_: web.Request, __: int) -> web.StreamResponse | None:
        await all_came.wait()
        return None

    api, lines = drive(tmp_path / "h", arrivals(), Mix(inflight_max=5), hook=hold)
    ops = Counter(line["op"] for line in lines)
    assert ops["invoke"] == 5
    assert ops["shed"] == 15
    assert len(api.orders) == 5
    shed = {line["nonce"] for line in lines if line["op"] == "shed"}
    assert not shed & {order["external_reference"] for order in api.orders.values()}


def test_declined_and_refused(tmp_path: Path) -> None:
    """A recorded refusal is a fail with its order's id, an unrecorded one a fail without."""

    async def third_is_forbidden(_: web.Request, number: int) -> web.StreamResponse | None:
        return problem(403, "forbidden") if number == 3 else None

    api, lines = drive(tmp_path / "h", even(300.0, 300), Mix(), hook=third_is_forbidden, scarce=True)
    fails = [line for line in lines if line["op"] == "fail"]
    declined = [line for line in fails if "order_id" in line]
    assert declined
    assert {line["status"] for line in declined} == {409}
    assert [line["problem"] for line in fails if "order_id" not in line] == ["forbidden"]
    assert all(line["order_id"] not in api.orders for line in declined)


def test_repeats_count_into_the_time(tmp_path: Path) -> None:
    """An order whose first attempts break is one submission, timed from its first attempt."""

    async def breaks_twice(request: web.Request, number: int) -> web.StreamResponse | None:
        if number <= 2:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return problem(503, "unavailable", {"Retry-After": "1"}) if number == 3 else None

    _, lines = drive(tmp_path / "h", even(1.0, 1), Mix(), hook=breaks_twice)
    (invoke,) = [line for line in lines if line["op"] == "invoke"]
    (end,) = [line for line in lines if line["op"] == "ok"]
    assert (end["attempts"], end["ambiguous"]) == (4, 2)
    assert end["t"] - invoke["t"] >= 1.0


def test_no_answer_is_unknown(tmp_path: Path) -> None:
    """A submission that never gets a definite answer is recorded as unknown."""

    async def always_504(_: web.Request, __: int) -> web.StreamResponse | None:
        return problem(504, "outcome-unknown", order_id="o-9")

    _, lines = drive(tmp_path / "h", [0.0], Mix(), hook=always_504, policy=RetryPolicy(deadline_s=1.0))
    (end,) = [line for line in lines if line["op"] == "unknown"]
    assert (end["status"], end["problem"], end["order_id"]) == (504, "outcome-unknown", "o-9")
    assert end["ambiguous"] == end["attempts"] > 1


def test_stop(tmp_path: Path) -> None:
    """A schedule without an end stops when it is told to, and still waits for what is under way."""
    api = FakeApi()

    async def run() -> Counter[str]:
        async with serving(api) as urls, OrdersClient(urls, "secret", policy=POLICY) as client:
            with HistoryWriter(tmp_path / "h") as history:
                await prepare(client, PRODUCTS, history)
                generator = OrderGenerator(PRODUCTS, seed=1, run="run", traits=SMALL_ORDERS)
                sender = Sender(client, generator, history)
                asyncio.get_running_loop().call_later(0.3, sender.stop)
                return await sender.run(number / 100.0 for number in itertools.count())

    counts = asyncio.run(run())
    assert counts["ok"] == counts["invoke"] == len(api.orders) > 0


async def test_a_closed_loop_keeps_so_many_under_way(tmp_path: Path) -> None:
    """Without a schedule each answer is followed by the next order, never more at a time than were asked for."""
    api, most, held = FakeApi(), 0, 0

    async def hook(_request: web.Request, number: int) -> None:
        nonlocal most, held
        if number == 30:
            sender.stop()
        held += 1
        most = max(most, held)
        await asyncio.sleep(0)
        held -= 1

    async with serving(api) as urls, OrdersClient(urls, "secret", policy=POLICY, connections=8) as client:
        with HistoryWriter(tmp_path / "h") as history:
            await prepare(client, PRODUCTS, history)
            api.hook, api.requests = hook, 0
            sender = Sender(client, OrderGenerator(PRODUCTS, seed=1, run="run", traits=SMALL_ORDERS), history)
            async with asyncio.timeout(60):
                counts = await sender.run_closed(3, client="drill")
    assert counts["invoke"] == counts["ok"] + counts["fail"] >= 30
    assert 1 <= most <= 3
