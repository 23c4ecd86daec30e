"""The client of the order API against real servers that fail in the ways that doors and networks do."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from aiohttp import web

from standfest.clients.attempts import Acknowledged, NotAttempted, Outcome, Refused, RetryPolicy, Unknown
from standfest.clients.orders import OrdersClient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FAST = RetryPolicy(hedge_s=5.0, deadline_s=10.0, backoff_max_s=0.05)
"""Quick to repeat what broke, and patient: a busy machine is no fault of a door."""
ORDER = {"lines": [{"sku": "A", "quantity": "1"}]}


class Door:
    """A server that records keys and bodies and answers by the given handlers in turn."""

    def __init__(self, *handlers: Handler) -> None:
        self.handlers = list(handlers)
        self.keys: list[str | None] = []
        self.bodies: list[bytes] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Idempotency-Key"))
        self.bodies.append(await request.read())
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        return await handler(request)


async def created(_: web.Request) -> web.StreamResponse:
    """Takes the order."""
    return web.json_response({"id": "o-1", "status": "confirmed"}, status=201)


async def breaks(request: web.Request) -> web.StreamResponse:
    """Breaks the connection off without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hangs(_: web.Request) -> web.StreamResponse:
    """Says nothing for longer than anybody waits."""
    await asyncio.sleep(30)
    return web.Response()


async def cut_short(request: web.Request) -> web.StreamResponse:
    """Begins an acknowledgement and breaks off in the middle."""
    answer = web.StreamResponse(status=201, headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"id":')
    assert request.transport is not None
    request.transport.close()
    return answer


def problem(status: int, slug: str, **headers: str) -> Handler:
    """Answers with one of the product's problem documents."""

    async def handler(_: web.Request) -> web.StreamResponse:
        body = {"type": f"https://standfest.example/problems/{slug}", "status": status}
        return web.json_response(body, status=status, headers=headers, content_type="application/problem+json")

    return handler


def bare(status: int) -> Handler:
    """Answers as a proxy does that has nobody to ask."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>a proxy's page</html>")

    return handler


def send(
    *doors: Door | None,
    policy: RetryPolicy = FAST,
    connections: int = 8,
    act: Callable[[OrdersClient], Awaitable[Outcome]] = lambda client: client.place(ORDER, "key-1"),
) -> Outcome:
    """Starts the doors (None: an address where nothing listens), places an order, stops them."""

    async def run() -> Outcome:
        async with AsyncExitStack() as stack:
            urls = []
            for number, door in enumerate(doors, start=1):
                if door is None:
                    urls.append("http://127.0.23.250:9")
                    continue
                app = web.Application()
                app.router.add_route("*", "/{path:.*}", door.handle)
                runner = web.AppRunner(app, shutdown_timeout=0.1)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                site = web.TCPSite(runner, f"127.0.23.{number}", 0)
                await site.start()
                host, port = runner.addresses[0][:2]
                urls.append(f"http://{host}:{port}")
            client = await stack.enter_async_context(
                OrdersClient(urls, "secret", policy=policy, connections=connections)
            )
            return await act(client)

    return asyncio.run(run())


def test_acknowledged() -> None:
    """An order that is taken at once is acknowledged after one attempt."""
    door = Door(created)
    outcome = send(door)
    assert isinstance(outcome, Acknowledged)
    assert (outcome.attempts, outcome.ambiguous, outcome.status, outcome.body["id"]) == (1, 0, 201, "o-1")
    assert door.keys == ["key-1"]


def test_a_dead_door_costs_no_order() -> None:
    """Where one door does not connect, the order goes through the other one, and nothing was in doubt."""
    door = Door(created)
    outcome = send(None, door)
    assert isinstance(outcome, Acknowledged)
    assert (outcome.attempts, outcome.ambiguous) == (2, 0)


def test_a_broken_connection_is_repeated_on_the_other_door_with_the_same_key() -> None:
    """A connection that breaks after sending is ambiguous; the very same request goes to the other door."""
    broken, door = Door(breaks), Door(created)
    outcome = send(broken, door)
    assert isinstance(outcome, Acknowledged)
    assert (outcome.attempts, outcome.ambiguous) == (2, 1)
    assert broken.keys == door.keys == ["key-1"]
    assert broken.bodies == door.bodies


def test_a_hanging_door_is_left() -> None:
    """A door that takes the request and says nothing is left after the time for one attempt."""
    outcome = send(Door(hangs), Door(created), policy=RetryPolicy(attempt_s=0.5, hedge_s=5.0))
    assert isinstance(outcome, Acknowledged)
    assert (outcome.attempts, outcome.ambiguous) == (2, 1)
    assert outcome.elapsed_s >= 0.5


def test_a_silent_door_is_not_waited_for_alone() -> None:
    """The same request goes to the other door while the silent one still has it, and its answer is the outcome."""
    silent, door = Door(hangs), Door(created)
    outcome = send(silent, door, policy=RetryPolicy(attempt_s=20.0, hedge_s=0.3, deadline_s=20.0))
    assert isinstance(outcome, Acknowledged)
    assert (outcome.attempts, outcome.ambiguous) == (2, 1)
    assert 0.3 <= outcome.elapsed_s < 10.0
    assert silent.bodies == door.bodies


def test_what_has_no_key_is_sent_once_at_a_time() -> None:
    """Putting products waits for a silent door as long as an attempt lasts."""
    silent, door = Door(hangs), Door(created)
    policy = RetryPolicy(attempt_s=0.6, hedge_s=0.1, deadline_s=20.0)
    outcome = send(silent, door, policy=policy, act=lambda client: client.put_products([{"sku": "A"}]))
    assert isinstance(outcome, Acknowledged)
    assert outcome.elapsed_s >= 0.6


def test_an_answer_cut_short_is_no_acknowledgement() -> None:
    """A 201 whose body breaks off is ambiguous and repeated."""
    outcome = send(Door(cut_short), Door(created))
    assert isinstance(outcome, Acknowledged)
    assert (outcome.attempts, outcome.ambiguous, outcome.body["id"]) == (2, 1, "o-1")


def test_retry_after_is_honoured() -> None:
    """After 503 with Retry-After nothing is sent before that time has passed."""
    outcome = send(Door(problem(503, "unavailable", **{"Retry-After": "1"}), created))
    assert isinstance(outcome, Acknowledged)
    assert (outcome.attempts, outcome.ambiguous) == (2, 0)
    assert outcome.elapsed_s >= 1.0


def test_retry_after_is_bounded() -> None:
    """A Retry-After of an hour does not hold a client for an hour."""
    policy = RetryPolicy(deadline_s=5.0, retry_after_max_s=0.1, backoff_max_s=0.05)
    door = Door(problem(429, "overloaded", **{"Retry-After": "3600"}), created)
    assert isinstance(send(door, policy=policy), Acknowledged)


def test_server_faults_are_repeated() -> None:
    """502, 504, 500 and a proxy's own 503 are repeated with the same key and counted as ambiguous."""
    door = Door(bare(502), problem(504, "outcome-unknown"), bare(500), bare(503), created)
    outcome = send(door)
    assert isinstance(outcome, Acknowledged)
    assert (outcome.attempts, outcome.ambiguous) == (5, 4)
    assert door.keys == ["key-1"] * 5


def test_a_refusal_is_not_repeated() -> None:
    """A 422 is a definite no after one attempt."""
    door = Door(problem(422, "unknown-sku"))
    outcome = send(door)
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.problem, outcome.attempts) == (422, "unknown-sku", 1)


def test_a_refusal_after_a_broken_attempt_is_unknown() -> None:
    """What an unanswered attempt may have done is not undone by a later refusal."""
    outcome = send(Door(breaks), Door(problem(422, "unknown-sku")))
    assert isinstance(outcome, Unknown)
    assert (outcome.status, outcome.ambiguous) == (422, 1)


def test_nobody_there() -> None:
    """Where no door ever connects, the outcome by the deadline says that nothing was attempted."""
    outcome = send(None, None, policy=RetryPolicy(deadline_s=0.3, backoff_max_s=0.05))
    assert isinstance(outcome, NotAttempted)
    assert outcome.status is None
    assert outcome.attempts >= 2


def test_unavailable_to_the_end() -> None:
    """503 until the deadline is not attempted; a 504 on the way makes it unknown."""
    policy = RetryPolicy(deadline_s=0.3, backoff_max_s=0.05)
    assert isinstance(send(Door(problem(503, "unavailable")), policy=policy), NotAttempted)
    door = Door(problem(504, "outcome-unknown"), problem(503, "unavailable"))
    assert isinstance(send(door, policy=policy), Unknown)


def test_a_hanging_world_ends_at_the_deadline() -> None:
    """Where every door hangs, the request ends at its deadline as unknown."""
    policy = RetryPolicy(attempt_s=10.0, deadline_s=0.4)
    outcome = send(Door(hangs), Door(hangs), policy=policy)
    assert isinstance(outcome, Unknown)
    assert outcome.attempts == 1


def test_waiting_for_a_free_connection_is_bounded() -> None:
    """A request that finds no free connection until its deadline was not attempted."""

    async def two(client: OrdersClient) -> Outcome:
        first = asyncio.create_task(client.place(ORDER, "key-1"))
        await asyncio.sleep(0)
        second = await client.place(ORDER, "key-2")
        await first
        return second

    door = Door(hangs)
    outcome = send(door, policy=RetryPolicy(attempt_s=10.0, deadline_s=0.3), connections=1, act=two)
    assert isinstance(outcome, NotAttempted)
    assert outcome.attempts == 0
    assert door.keys == ["key-1"]


def test_put_many_goes_in_bounded_parts() -> None:
    """2,500 products go in three requests, and the changes add up."""

    async def changed(request: web.Request) -> web.StreamResponse:
        count = len((await request.json())["products"])
        return web.json_response({"changed": count - 1, "unchanged": 1})

    door = Door(changed)
    products = [{"sku": str(number)} for number in range(2500)]
    outcome = send(door, act=lambda client: client.put_products(products))
    assert isinstance(outcome, Acknowledged)
    assert dict(outcome.body) == {"changed": 2497, "unchanged": 3}
    assert len(door.bodies) == 3


def test_put_many_ends_at_the_first_refusal() -> None:
    """After a refused part no further one is sent."""
    door = Door(problem(403, "forbidden"))
    counts = [{"sku": str(number), "on_hand": "1"} for number in range(2500)]
    outcome = send(door, act=lambda client: client.put_stock(counts))
    assert isinstance(outcome, Refused)
    assert len(door.bodies) == 1


def test_cancel_and_reading() -> None:
    """A cancellation names lines by position and has a key; odd characters in a path are escaped."""
    paths: list[str] = []

    async def record(request: web.Request) -> web.StreamResponse:
        paths.append(request.rel_url.raw_path)
        return web.json_response({"id": "o-1"})

    door = Door(record)

    async def act(client: OrdersClient) -> Outcome:
        await client.stock("BANK CHARGES/1")
        await client.order("o-1")
        return await client.cancel("o-1", "c-1", [(2, "3")], "changed their mind")

    outcome = send(door, act=act)
    assert isinstance(outcome, Acknowledged)
    assert paths == ["/v1/stock/BANK%20CHARGES%2F1", "/v1/orders/o-1", "/v1/orders/o-1/cancel"]
    assert door.keys == [None, None, "c-1"]
    assert door.bodies[2] == b'{"reason":"changed their mind","lines":[{"position":2,"quantity":"3"}]}'
