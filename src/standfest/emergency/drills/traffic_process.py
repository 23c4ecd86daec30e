"""The traffic of a drill, in a process of its own: nothing that the drill does besides can make it late.

`python -m standfest.emergency.drills.traffic_process` takes its order (JSON, one line) from standard input, prepares
catalogue and stock, says {"ready": true}, begins to send at the next line, and stops at the end of the input. What it
has counted so far is on its standard output, a line every TELL_S.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from standfest.clients.attempts import RetryPolicy
from standfest.clients.orders import OrdersClient
from standfest.emergency.drills.file_orders import FileOrders, read_orders
from standfest.emergency.drills.history import HistoryWriter
from standfest.emergency.drills.traffic.arrivals import poisson
from standfest.emergency.drills.traffic.generator import SMALL_ORDERS, OrderGenerator, make_products
from standfest.emergency.drills.traffic.prepare import prepare
from standfest.emergency.drills.traffic.sender import Mix, Sender
from standfest.errors import StandfestError

TELL_S = 0.2
PRODUCTS = 300
SCARCE_SHARE = 0.1
CANCEL_SHARE = 0.02
READ_SHARE = 0.05
INFLIGHT_MIN = 256
CLOSED_LOOP = 64
"""Orders under way where it is measured how many can be: enough for batches on every API process."""


@dataclass(frozen=True)
class Traffic:
    """What is sent, to whom, and where it is recorded."""

    doors: list[str]
    client: str
    """The name of the client that sends."""
    key: str
    history: str
    run: str
    """Tells this run's orders, keys and products from those of every other run."""
    rate_per_s: float | None
    """Of an open loop; None: a closed loop, in which each of CLOSED_LOOP orders is followed by another one."""
    deadline_s: float
    """How long one order is repeated before it counts as failed."""
    file: str | None = None
    """Send the orders of this file instead of made-up ones."""

    def order(self) -> bytes:
        """The line that the process takes. It holds the key: it goes through a pipe, and nowhere else."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Carries out one order."""
    given = Traffic(**json.loads(sys.stdin.buffer.readline()))
    try:
        asyncio.run(_run(given))
    except StandfestError as error:
        _tell({"error": str(error)})
        sys.exit(error.exit_code)


async def _run(given: Traffic) -> None:
    orders = await _input()
    policy = RetryPolicy(deadline_s=given.deadline_s)
    # While nothing is answered, what arrives until the client's deadline must find room.
    inflight_max = max(INFLIGHT_MIN, int((given.rate_per_s or 0.0) * given.deadline_s * 1.5))
    mix = Mix(cancel_share=CANCEL_SHARE, read_share=READ_SHARE, inflight_max=inflight_max)
    generator = await asyncio.to_thread(_generator, given)
    with HistoryWriter(Path(given.history)) as history:
        async with OrdersClient(given.doors, given.key, policy=policy, connections=inflight_max) as client:
            await prepare(client, generator.products, history)
            _tell({"ready": True})
            if not await orders.readline():
                return
            sender = Sender(client, generator, history, mix)
            await _send(given, sender, orders)
    _tell({"counts": sender.counts})


async def _send(given: Traffic, sender: Sender, orders: asyncio.StreamReader) -> None:
    if given.rate_per_s is None:
        sending = asyncio.create_task(sender.run_closed(CLOSED_LOOP, client=given.client))
    else:
        arrivals = poisson(given.rate_per_s, Random(given.run))
        sending = asyncio.create_task(sender.run(arrivals, client=given.client, rate_per_s=given.rate_per_s))
    stopping = asyncio.create_task(_stop_at_end(orders, sender))
    try:
        while not sending.done():
            _tell({"counts": sender.counts})
            await asyncio.wait([sending], timeout=TELL_S)
        await sending
    finally:
        stopping.cancel()


async def _stop_at_end(orders: asyncio.StreamReader, sender: Sender) -> None:
    while await orders.readline():
        continue
    sender.stop()


def _generator(given: Traffic) -> OrderGenerator:
    # Products of its own: no other run shares their stock, so that it must add up to the piece.
    if given.file is not None:
        return FileOrders(read_orders(Path(given.file)), run=given.run)
    products = make_products(PRODUCTS, seed=1, prefix=f"DRILL-{given.run}", scarce_share=SCARCE_SHARE)
    return OrderGenerator(products, seed=1, run=given.run, traits=SMALL_ORDERS)


async def _input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    return reader


def _tell(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
