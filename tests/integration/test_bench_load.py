"""The load of a benchmark, against a server that answers as it is told to."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from standfest.scaling.bench.load import SENT_MIN, Load, Sent, sent_from

LOAD_TIMEOUT_S = 60.0
SLOW_S = 0.3
EVERY = 5
"""One answer of so many is slow."""

Answer = Callable[[int], tuple[int, float]]
"""By the number of a request: the status of its answer, and the seconds until it comes."""


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[str, int]]:
    """The address of a server."""
    numbers = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)
            status, after_s = answer(next(numbers))
            await asyncio.sleep(after_s)
            writer.write(b"HTTP/1.1 %d -\r\ncontent-length: 0\r\n\r\n" % status)

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(until_closed, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        yield host, port


async def sent_to(answer: Answer, connections: int, rate_per_s: float | None) -> Sent:
    """What became of a load of a second."""
    async with server(answer) as address:
        load = Load(
            addresses=[address],
            key="key",
            run="run",
            connections=connections,
            seconds=1.0,
            rate_per_s=rate_per_s,
            products=100,
        )
        command = [sys.executable, "-m", "standfest.scaling.bench.load"]
        run = asyncio.to_thread(
            subprocess.run, command, input=load.order(), capture_output=True, check=True, timeout=LOAD_TIMEOUT_S
        )
        return sent_from((await run).stdout)


async def test_the_times_of_the_accepted_are_those_of_every_successful_answer() -> None:
    """Orders that the journal accepts, as the database is late, are slow and fewer: they count as well."""

    def answer(number: int) -> tuple[int, float]:
        return (202, SLOW_S) if number % EVERY == 0 else (429, SLOW_S * 2) if number % EVERY == 1 else (201, 0.0)

    sent = await sent_to(answer, 64, 200.0)
    assert sent.good.count == sent.answers[201].count + sent.answers[202].count
    assert sent.good.p99_ms >= 1000 * SLOW_S
    assert sent.good.p50_ms < 1000 * SLOW_S
    assert sent.otherwise == 0


async def test_what_waits_for_a_connection_has_arrived_and_was_not_sent() -> None:
    """A generator that has too few connections does not offer what was wanted, though all is answered in the end."""
    sent = await sent_to(lambda _: (201, 0.1), 1, 30.0)
    assert sent.arrived == sum(each.count for each in sent.answers.values()) + sent.unclear + sent.not_sent
    assert 0 < sent.sent_in_time < SENT_MIN * sent.arrived


async def test_in_a_closed_loop_all_that_arrived_was_sent() -> None:
    """A connection asks when it was answered, and waits for nothing."""
    sent = await sent_to(lambda _: (500, 0.01), 4, None)
    assert sent.arrived == sent.sent_in_time > 0
    assert sent.otherwise == sum(sent.statuses.values()) + sent.unclear
    assert sent.good.count == 0
