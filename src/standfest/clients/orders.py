"""A client of the public order API, as a careful partner system would use it.

It knows several doors, sends every order with an Idempotency-Key, repeats it with the same key on the other
door where an attempt breaks, brings no definite answer or stays silent for too long (then without giving the
first one up), honours Retry-After, and ends at a deadline with a typed outcome. All its requests share a retry
budget: where it is used up, repeats wait, and an outcome that comes of it says so. Faults of the server or the
network never raise: they are outcomes.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from standfest.clients.attempts import (
    AT_ONCE_MAX,
    Acknowledged,
    Answer,
    Course,
    NotAttempted,
    Outcome,
    RetryPolicy,
    Tried,
    Verdict,
    conclude,
)
from standfest.clients.doors import Doors
from standfest.clients.retry_budget import RetryBudget

PUT_MANY_MAX = 1000
"""The most products or stock counts that the API takes in one request."""

ABANDONED_END_S = 1.0
"""Attempts that were abandoned have so long to end when the client is closed."""

Body = Mapping[str, Any]


class OrdersClient:
    """One partner's connection to the doors; an async context manager. Safe for many requests at a time.

    `connections` bounds the requests under way; further ones wait for their turn, and that wait counts. Each may
    have two connections, one to each of two doors.
    """

    def __init__(
        self,
        doors: Sequence[str],
        key: str,
        *,
        policy: RetryPolicy | None = None,
        connections: int = 64,
        random: Random | None = None,
        on_attempt: Callable[[Verdict | None], None] = lambda _verdict: None,
    ) -> None:
        """`on_attempt` is told of each attempt's verdict, None where there was no answer."""
        self._policy = policy or RetryPolicy()
        self._doors = Doors(doors, self._policy.door_rest_s, self._policy.door_rest_max_s)
        self._budget = RetryBudget(time.monotonic())
        self._random = random or Random()
        self._slots = asyncio.Semaphore(connections)
        self._connections = connections
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json, application/problem+json",
        }
        self._on_attempt = on_attempt
        self._session: aiohttp.ClientSession | None = None
        self._abandoned: set[asyncio.Task[_Attempt]] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # The semaphore is the bound: a wait for a connection in here would be taken for a slow answer.
            connector=aiohttp.TCPConnector(limit=AT_ONCE_MAX * self._connections, limit_per_host=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=ABANDONED_END_S)
        if self._session is not None:
            await self._session.close()

    async def place(self, order: Body | bytes, key: str) -> Outcome:
        """Places an order under this Idempotency-Key; bytes are sent as they are. The answer is the order."""
        return await self._repeat("POST", "/v1/orders", order, key)

    async def cancel(
        self,
        order_id: str,
        key: str,
        lines: Sequence[tuple[int, str]] | None = None,
        reason: str | None = None,
    ) -> Outcome:
        """Cancels (position, quantity) lines of an order, or the whole of it; the answer is the order."""
        path = f"/v1/orders/{quote(order_id, safe='')}/cancel"
        return await self._repeat("POST", path, cancel_body(lines, reason), key)

    async def order(self, order_id: str) -> Outcome:
        """Reads one order; 404 is Refused."""
        return await self._repeat("GET", f"/v1/orders/{quote(order_id, safe='')}")

    async def product(self, sku: str) -> Outcome:
        """Reads one product."""
        return await self._repeat("GET", f"/v1/products/{quote(sku, safe='')}")

    async def stock(self, sku: str) -> Outcome:
        """Reads one product's stock: on_hand, reserved, available."""
        return await self._repeat("GET", f"/v1/stock/{quote(sku, safe='')}")

    async def put_products(self, products: Sequence[Body]) -> Outcome:
        """Creates or changes products, however many; ends at the first request that is not acknowledged.

        The body of the last answer has `changed` and `unchanged` for all of them.
        """
        return await self._put_many("products", products)

    async def put_stock(self, counts: Sequence[Body]) -> Outcome:
        """Sets absolute on-hand counts, however many; like `put_products`."""
        return await self._put_many("stock", counts)

    async def _put_many(self, what: str, items: Sequence[Body]) -> Outcome:
        sums = {"changed": 0, "unchanged": 0}
        attempts = ambiguous = 0
        elapsed_s = 0.0
        for start in range(0, max(len(items), 1), PUT_MANY_MAX):
            outcome = await self._repeat("PUT", f"/v1/{what}", {what: items[start : start + PUT_MANY_MAX]})
            attempts += outcome.attempts
            ambiguous += outcome.ambiguous
            elapsed_s += outcome.elapsed_s
            if not isinstance(outcome, Acknowledged):
                return outcome
            for name in sums:
                sums[name] += int(outcome.body.get(name, 0))
        return Acknowledged(attempts, ambiguous, elapsed_s, Answer(200, sums))

    async def _repeat(
        self, method: str, path: str, body: Body | bytes | None = None, key: str | None = None
    ) -> Outcome:
        """Waits for a free slot, then attempts until a definite answer or the deadline."""
        began = time.monotonic()
        headers = {} if key is None else {"Idempotency-Key": key}
        data = body if isinstance(body, bytes | None) else encode(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = _Request(method, path, data, headers)
        if not await self._take_slot():
            return NotAttempted(0, 0, time.monotonic() - began, None)
        try:
            # Only what has a key, or only reads, may be done twice at a time.
            hedged = len(self._doors) > 1 and (key is not None or method == "GET")
            course = Course(self._policy, began, self._random, hedged, self._budget)
            tried = await self._attempts(request, course)
        finally:
            self._slots.release()
        # Only what has a key can be ambiguous: reading changes nothing, and putting twice is putting once.
        return conclude(tried if key is not None else replace(tried, ambiguous=0))

    async def _take_slot(self) -> bool:
        """Whether there was a free slot before the deadline."""
        if not self._slots.locked():
            return await self._slots.acquire()
        try:
            async with asyncio.timeout(self._policy.deadline_s):
                return await self._slots.acquire()
        except TimeoutError:
            return False

    async def _attempts(self, request: "_Request", course: Course) -> Tried:
        """Begins attempts as the course says, until it is over."""
        under_way: dict[asyncio.Task[_Attempt], tuple[str, float]] = {}
        last_door = ""
        try:
            while not course.over(now := time.monotonic()):
                if course.may_begin(now):
                    for door, since in under_way.values():
                        self._doors.silent(door, since, now)
                    choice = self._doors.choose(now, last_door, {door for door, _ in under_way.values()})
                    last_door = choice.url
                    attempt = self._attempt(request, last_door, course.begin(now, choice.probing))
                    under_way[asyncio.create_task(attempt)] = (last_door, now)
                    continue
                wake_s = course.wake_s(now)
                if not under_way:
                    await asyncio.sleep(wake_s or 0.0)
                    continue
                done, _ = await asyncio.wait(under_way, timeout=wake_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._note(course, *under_way.pop(task), task.result())
        finally:
            for task in under_way:
                self._abandon(task)
        return course.tried(time.monotonic())

    def _note(self, course: Course, door: str, since: float, attempt: "_Attempt") -> None:
        now = time.monotonic()
        if attempt.answer is None:
            self._doors.failed(door, since, now)
            course.broke(now, attempt.sent)
            self._on_attempt(None)
        else:
            self._doors.worked(door, now)
            self._on_attempt(course.answered(now, attempt.answer))

    def _abandon(self, task: "asyncio.Task[_Attempt]") -> None:
        """Ends an attempt that nobody waits for any more: its connection is closed."""
        self._on_attempt(None)
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        task.cancel()

    async def _attempt(self, request: "_Request", door: str, time_s: float) -> "_Attempt":
        """One request."""
        if self._session is None:
            raise RuntimeError("OrdersClient is used outside of its 'async with' block")
        timeout = aiohttp.ClientTimeout(total=time_s, sock_connect=self._policy.connect_s)
        try:
            async with self._session.request(
                request.method,
                door + request.path,
                data=request.data,
                headers=request.headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                raw = await response.read()
                return _Attempt(read_answer(response.status, response.headers, raw), sent=True)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return _Attempt(None, sent=False)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return _Attempt(None, sent=True)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one attempt came to: the answer, or none and whether the request may have reached the other side."""

    answer: Answer | None
    sent: bool


@dataclass(frozen=True, slots=True)
class _Request:
    """What every attempt sends, byte for byte."""

    method: str
    path: str
    data: bytes | None
    headers: Mapping[str, str]


def encode(body: Body) -> bytes:
    """The bytes that are sent, the same ones in every repeat."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def cancel_body(lines: Sequence[tuple[int, str]] | None, reason: str | None = None) -> dict[str, Any]:
    """The body that cancels (position, quantity) lines, or the whole order where `lines` is None."""
    body: dict[str, Any] = {}
    if reason is not None:
        body["reason"] = reason
    if lines is not None:
        body["lines"] = [{"position": position, "quantity": quantity} for position, quantity in lines]
    return body


def read_answer(status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
    """Takes an HTTP answer apart; a Retry-After that is no number of seconds is none."""
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = None
    body = decoded if isinstance(decoded, dict) else None
    kind = body.get("type") if body is not None and status >= 400 else None
    problem = kind.rstrip("/").rpartition("/")[2] if isinstance(kind, str) else None
    seconds = headers.get("Retry-After", "")
    retry_after_s = float(seconds) if seconds.isascii() and seconds.isdigit() else None
    return Answer(status, body, problem, retry_after_s)
