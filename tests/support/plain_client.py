"""A client that repeats nothing: whatever a door breaks, it sees and records."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Seen:
    """What became of the requests."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    """Answers by status; what broke by the error's name."""
    reopened: int = 0
    """Connections that were closed while nothing was under way on them, as HTTP allows."""
    told_to_close: int = 0
    """Answers that closed the connection after them."""
    slowest_s: float = 0.0
    times_s: list[tuple[float, float, int | str]] = field(default_factory=list)
    """(moment of sending, duration, result) of each request."""

    @property
    def broken(self) -> dict[int | str, int]:
        """Everything that is not a 2xx."""
        return {result: count for result, count in self.statuses.items() if result not in range(200, 300)}


class Broken(Exception):
    """A connection ended in the middle of a request."""


async def send_open_loop(
    doors: list[tuple[str, int]],
    rate: float,
    seconds: float,
    *,
    method: str = "POST",
    keyed: Callable[[int], bool] = lambda _: True,
    body: bytes = b'{"lines":[]}',
    prefix: str = "k",
    client: str = "shop",
    keep_alive: bool = True,
    at: Callable[[float], None] | None = None,
    timeout_s: float = 15.0,
) -> Seen:
    """Sends `rate` requests a second to the doors in turn, over kept connections, and waits for every answer."""
    seen = Seen()
    idle: dict[tuple[str, int], list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {door: [] for door in doors}
    head = f"{method} /v1/orders HTTP/1.1\r\nHost: door\r\nContent-Length: {len(body)}\r\n"
    head += f"Authorization: Bearer {client}\r\n"
    if not keep_alive:
        head += "Connection: close\r\n"

    async def one(number: int) -> None:
        door = doors[number % len(doors)]
        key = f"X-Request-Id: {prefix}-{number}\r\n"
        if keyed(number):
            key += f"Idempotency-Key: {prefix}-{number}\r\n"
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                result: int | str = await exchange(door, f"{head}{key}\r\n".encode() + body)
        except (OSError, Broken, TimeoutError) as error:
            result = type(error).__name__
        took = time.monotonic() - began
        seen.statuses[result] += 1
        seen.slowest_s = max(seen.slowest_s, took)
        seen.times_s.append((began, took, result))

    async def exchange(door: tuple[str, int], request: bytes) -> int:
        while idle[door]:
            reader, writer = idle[door].pop()
            if not reader.at_eof() and reader.exception() is None:
                break
            seen.reopened += 1
            writer.close()
        else:
            reader, writer = await asyncio.open_connection(*door)
        try:
            writer.write(request)
            status, close = await read_answer(reader)
        except BaseException:
            writer.close()
            raise
        if close:
            seen.told_to_close += 1
            writer.close()
        else:
            idle[door].append((reader, writer))
        return status

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if at is not None:
                at(due - began)
            tasks.create_task(one(number))
    for pool in idle.values():
        for _, writer in pool:
            writer.close()
    return seen


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """The status, and whether the connection is to be closed."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise Broken(f"ended after {len(error.partial)} bytes") from error
    return int(head.split(b" ", 2)[1]), b"connection: close" in head
