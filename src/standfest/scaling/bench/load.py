"""The load of a benchmark, in a process of its own.

`python -m standfest.scaling.bench.load` takes what to send (JSON, one line) from standard input and tells at the end
what became of it (JSON, one line). In a closed loop each connection sends when it was answered; in an open loop
requests arrive at random (Poisson) whether or not those before them were answered, and wait for a free connection.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from standfest.scaling.bench.requests import orders, reads

LAST_ANSWERS_S = 15.0
"""How long the last answers are waited for."""
CONNECT_S = 5.0
RECONNECT_S = 0.1
REFUSAL_MAX = 500
WAITING_MAX = 20_000
"""Arrivals that wait for a free connection; beyond, they are counted and not sent."""
SENT_MIN = 0.95
"""Share of the wanted rate from which on the generator counts as having reached it."""
ORDERLY = (201, 202, 429)
"""Statuses with which an order is to be answered: placed, accepted, or too much at the moment."""


@dataclass(frozen=True)
class Load:
    """What is sent, and where to."""

    addresses: list[tuple[str, int]]
    """Connections are spread evenly over them."""
    key: str
    run: str
    """Tells these orders' keys from all others."""
    connections: int
    seconds: float
    """How long is measured."""
    warm_up_s: float = 0.0
    """How long is sent before."""
    rate_per_s: float | None = None
    """Of an open loop; None: a closed loop."""
    products: int = 0
    lines: int = 3
    """Of an order."""
    paths: list[str] = field(default_factory=list)
    """Read these instead of placing orders."""

    def order(self) -> bytes:
        """The line that the process takes. It holds the key: it goes through a pipe, and nowhere else."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def requests(self) -> Iterator[bytes]:
        """What is sent."""
        if self.paths:
            return reads(self.key, self.paths, seed=self.run)
        return orders(self.key, self.run, products=self.products, lines=self.lines, seed=self.run)


@dataclass(frozen=True)
class Answers:
    """The answers with one status; times in milliseconds from when a request was to be sent."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Sent:
    """What became of a load."""

    seconds: float
    """How long was measured."""
    answers: dict[int, Answers]
    """By status; of requests that were to be sent in the measured time."""
    good: Answers
    """All successful answers together, whatever their status; of the same requests."""
    arrived: int
    """Requests that were to be sent in the measured time, whether or not they were."""
    sent_in_time: int
    """Requests that were sent within the measured time, whenever they were to be."""
    good_in_time: int
    """Successful answers that came within the measured time, whenever they were asked for."""
    statuses: dict[int, int]
    """All answers by status, those of the warm-up too."""
    unclear: int
    """Requests that broke or had no answer in the end, at any time: they may have done something."""
    not_sent: int
    """Arrivals for which no connection was free, and no room to wait."""
    hasty: int
    """Refusals (429, 503) without Retry-After."""
    processor_s: float
    """Processor time of the process that sent, of all of its life."""
    refusals: dict[int, str]
    """The body of the first answer with each status from 400 on, its first REFUSAL_MAX characters."""

    @property
    def acknowledged(self) -> int:
        """Successful answers, those of the warm-up too."""
        return sum(count for status, count in self.statuses.items() if status < 300)

    @property
    def good_per_s(self) -> float:
        """Successful answers a second."""
        return self.good_in_time / self.seconds

    @property
    def arrived_per_s(self) -> float:
        """Requests a second that were to be sent."""
        return self.arrived / self.seconds

    @property
    def sent_per_s(self) -> float:
        """Requests a second that were sent: fewer than arrived where the generator was late, or had no connection."""
        return self.sent_in_time / self.seconds

    @property
    def otherwise(self) -> int:
        """Orders that were answered otherwise than they are to be, or not at all, those of the warm-up too."""
        return self.unclear + sum(count for status, count in self.statuses.items() if status not in ORDERLY)


class _Sender:
    """Sends over all connections."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._requests = load.requests()
        self._idle: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self._times: dict[int, list[float]] = {}
        self._under_way = 0
        self._statuses: Counter[int] = Counter()
        self._good_in_time = 0
        self._arrived = self._sent_in_time = 0
        self._unclear = 0
        self._not_sent = 0
        self._hasty = 0
        self._refusals: dict[int, str] = {}
        self._began = self._ends = 0.0
        self._connecting: set[asyncio.Task[None]] = set()

    async def run(self) -> Sent:
        addresses = [self._load.addresses[n % len(self._load.addresses)] for n in range(self._load.connections)]
        self._began = time.perf_counter() + self._load.warm_up_s
        self._ends = self._began + self._load.seconds
        async with asyncio.timeout(CONNECT_S + self._load.warm_up_s + self._load.seconds + LAST_ANSWERS_S):
            async with asyncio.TaskGroup() as group:
                for address in addresses:
                    group.create_task(self.connect(address))
                if self._load.rate_per_s is not None:
                    group.create_task(self._arrive(self._load.rate_per_s))
            await asyncio.sleep(max(self._ends - time.perf_counter(), 0))
        last = time.perf_counter() + LAST_ANSWERS_S
        while self._under_way:
            await asyncio.sleep(0.01)
            if time.perf_counter() > last:
                break
        return Sent(
            seconds=self._load.seconds,
            answers={status: _summary(times) for status, times in sorted(self._times.items())},
            good=_summary([each for status, times in self._times.items() if status < 300 for each in times]),
            arrived=self._arrived,
            sent_in_time=self._sent_in_time,
            good_in_time=self._good_in_time,
            statuses=dict(self._statuses),
            unclear=self._unclear + self._under_way,
            not_sent=self._not_sent + len(self._waiting),
            hasty=self._hasty,
            processor_s=time.process_time(),
            refusals=self._refusals,
        )

    async def connect(self, address: tuple[str, int]) -> None:
        """Keeps trying until the end."""
        loop = asyncio.get_running_loop()
        while time.perf_counter() < self._ends:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await loop.create_connection(lambda: _Connection(self, address), *address)
                return
            except OSError:
                await asyncio.sleep(RECONNECT_S)

    async def _arrive(self, rate_per_s: float) -> None:
        """Lets requests arrive."""
        rng = random.Random(self._load.run)
        due = time.perf_counter()
        while due < self._ends:
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            while due <= time.perf_counter() and due < self._ends:
                self._arrived += self._measured(due)
                if self._idle:
                    self._send(self._idle.pop(), due)
                elif len(self._waiting) < WAITING_MAX:
                    self._waiting.append(due)
                else:
                    self._not_sent += 1
                due += rng.expovariate(rate_per_s)

    def free(self, connection: _Connection) -> None:
        """A connection has nothing to do."""
        now = time.perf_counter()
        if self._load.rate_per_s is None:
            if now < self._ends:
                self._arrived += self._measured(now)
                self._send(connection, now)
        elif self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _measured(self, moment: float) -> bool:
        return self._began <= moment < self._ends

    def _send(self, connection: _Connection, due: float) -> None:
        self._under_way += 1
        self._sent_in_time += self._measured(time.perf_counter())
        connection.send(next(self._requests), due)

    def answered(self, due: float, now: float, status: int, head: bytes, body: bytes) -> None:
        """A request was answered."""
        self._under_way -= 1
        self._statuses[status] += 1
        if status >= 400 and status not in self._refusals:
            self._refusals[status] = body.decode(errors="replace")[:REFUSAL_MAX]
        if status < 300 and self._measured(now):
            self._good_in_time += 1
        if status in (429, 503) and b"\r\nretry-after:" not in head:
            self._hasty += 1
        # In a closed loop what is answered at the end counts, whenever it was sent: the same holds for the beginning.
        if self._measured(now if self._load.rate_per_s is None else due):
            self._times.setdefault(status, []).append(now - due)

    def lost(self, connection: _Connection, *, under_way: bool) -> None:
        """A connection is gone; there will be another one."""
        if under_way:
            self._under_way -= 1
            self._unclear += 1
        elif connection in self._idle:
            self._idle.remove(connection)
        again = asyncio.ensure_future(self.connect(connection.address))
        self._connecting.add(again)
        again.add_done_callback(self._connecting.discard)


class _Connection(asyncio.Protocol):
    """One connection with one request at a time, as HTTP/1.1 allows it: no more of HTTP than our own API speaks."""

    def __init__(self, sender: _Sender, address: tuple[str, int]) -> None:
        self.address = address
        self._sender = sender
        self._received = b""
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._sender.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.lost(self, under_way=self._due is not None)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        end = received.find(b"\r\n\r\n")
        length_at = received.find(b"content-length: ", 0, end) + 16
        if end < 0 or len(received) < end + 4 + int(received[length_at : received.find(b"\r", length_at)]):
            self._received = received
            return
        self._received = b""
        due, self._due = self._due, None
        if due is None:
            self._transport.close()  # an answer to nothing
            return
        head = received[: end + 2]
        self._sender.answered(due, time.perf_counter(), int(head[9:12]), head, received[end + 4 :])
        if b"\r\nconnection: close\r\n" in head:
            self._transport.close()
        else:
            self._sender.free(self)


def _summary(times: list[float]) -> Answers:
    if not times:
        return Answers(0, 0.0, 0.0, 0.0)
    times.sort()
    at = [times[min(int(share * len(times)), len(times) - 1)] for share in (0.5, 0.99, 1.0)]
    return Answers(len(times), *(round(1000 * each, 3) for each in at))


def sent_from(line: bytes) -> Sent:
    """What a process has told."""
    told = json.loads(line)
    answers = {int(status): Answers(**each) for status, each in told.pop("answers").items()}
    statuses = {int(status): count for status, count in told.pop("statuses").items()}
    refusals = {int(status): body for status, body in told.pop("refusals").items()}
    good = Answers(**told.pop("good"))
    return Sent(answers=answers, good=good, statuses=statuses, refusals=refusals, **told)


def main() -> None:
    """Carries out one load."""
    given = json.loads(sys.stdin.buffer.readline())
    given["addresses"] = [tuple(address) for address in given["addresses"]]
    sent = uvloop.run(_Sender(Load(**given)).run())
    sys.stdout.write(json.dumps(asdict(sent)) + "\n")


if __name__ == "__main__":
    main()
