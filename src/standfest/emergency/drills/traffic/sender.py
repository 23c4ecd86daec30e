"""The open loop: orders leave when the schedule says so, however slowly the ones before them are answered. And the
closed one, which finds out how many can be answered."""

import asyncio
import hashlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from standfest.clients.attempts import Acknowledged, Outcome, Unknown
from standfest.clients.orders import OrdersClient, cancel_body
from standfest.emergency.drills.history import FORMAT, HistoryWriter, Operation
from standfest.emergency.drills.traffic.generator import OrderGenerator, canonical

REMEMBERED_MAX = 1000
"""How many acknowledged orders are remembered as candidates for a cancellation."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What else is sent besides orders, and how much may be under way."""

    cancel_share: float = 0.0
    """Share of the arrivals that cancel an acknowledged order, whole or one line, instead of placing one."""
    read_share: float = 0.0
    """Share of the acknowledged orders that are read at once, to see that no read after it answers 404."""
    inflight_max: int = 512
    """Arrivals beyond so many submissions under way are not sent: they are recorded as shed."""


@dataclass(frozen=True, slots=True)
class _Placed:
    nonce: str
    order_id: str
    lines: tuple[tuple[int, str], ...]
    """Position and quantity of each line."""


class Sender:
    """Sends one run and records it. The client must allow as many connections as `mix.inflight_max`."""

    def __init__(
        self, client: OrdersClient, generator: OrderGenerator, history: HistoryWriter, mix: Mix | None = None
    ) -> None:
        self._client = client
        self._generator = generator
        self._history = history
        self._mix = mix or Mix()
        self._random = Random(f"sender:{generator.seed}")
        self._placed: deque[_Placed] = deque(maxlen=REMEMBERED_MAX)
        self._stopped = asyncio.Event()
        self._inflight = 0
        self.counts: Counter[str] = Counter()
        """Lines written so far, by op; "declined" counts the recorded refusals among "fail"."""

    def stop(self) -> None:
        """No further arrivals; what is under way is still waited for."""
        self._stopped.set()

    async def run(self, arrivals: Iterable[float], **start: Any) -> Counter[str]:
        """Sends until the arrivals (ascending offsets, seconds) end or `stop` is called; returns the counts.

        Ends by the client's deadline after the last arrival. `start` goes into the history's first note,
        which wants the name of the `client`.
        """
        generator = self._generator
        self._begin(start)
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number, offset_s in enumerate(arrivals):
                due = began + offset_s
                if not await self._wait_until(due):
                    break
                if self._inflight >= self._mix.inflight_max:
                    self._write(
                        "shed",
                        kind="place",
                        key=generator.key(number),
                        nonce=generator.nonce(number),
                        due=due,
                    )
                    continue
                self._inflight += 1
                tasks.create_task(self._submit(number, due))
        self._history.write("note", what="end", counts=dict(self.counts))
        return self.counts

    async def run_closed(self, under_way: int, **start: Any) -> Counter[str]:
        """Keeps so many submissions under way until `stop` is called; otherwise as `run`."""
        self._begin(start)
        numbers = itertools.count()

        async def send_on() -> None:
            while not self._stopped.is_set():
                self._inflight += 1
                await self._submit(next(numbers), time.monotonic())

        async with asyncio.TaskGroup() as tasks:
            for _ in range(under_way):
                tasks.create_task(send_on())
        self._history.write("note", what="end", counts=dict(self.counts))
        return self.counts

    def _begin(self, start: Mapping[str, Any]) -> None:
        self._history.write(
            "note",
            what="start",
            format=FORMAT,
            seed=self._generator.seed,
            run=self._generator.run,
            inflight_max=self._mix.inflight_max,
            **start,
        )

    async def _wait_until(self, due: float) -> bool:
        """Waits for the moment, at least one turn of the loop; False where the run was stopped meanwhile."""
        try:
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                await self._stopped.wait()
        except TimeoutError:
            return True
        return False

    async def _submit(self, number: int, due: float) -> None:
        try:
            if self._placed and self._random.random() < self._mix.cancel_share:
                await self._cancel(number, due)
            else:
                await self._place(number, due)
        finally:
            self._inflight -= 1

    async def _place(self, number: int, due: float) -> None:
        order = self._generator.order(number)
        told = {"kind": "place", "key": order.key, "nonce": order.nonce}
        self._write("invoke", **told, due=due, content=order.content(), payload_sha256=order.payload_sha256)
        outcome = await self._client.place(order.payload, order.key)
        self._conclude(told, outcome)
        if not isinstance(outcome, Acknowledged):
            return
        lines = tuple((line["position"], line["quantity"]) for line in outcome.body.get("lines", ()))
        self._placed.append(_Placed(order.nonce, outcome.body["id"], lines))
        if self._random.random() < self._mix.read_share:
            read = await self._client.order(outcome.body["id"])
            self._write("read", key=order.key, nonce=order.nonce, order_id=outcome.body["id"], status=read.status)

    async def _cancel(self, number: int, due: float) -> None:
        index = self._random.randrange(len(self._placed))
        placed = self._placed[index]
        # Whoever is cancelled leaves the candidates, so that no cancellation asks for more than there is.
        del self._placed[index]
        whole = len(placed.lines) < 2 or self._random.random() < 0.5
        lines = None if whole else [self._random.choice(placed.lines)]
        body = cancel_body(lines)
        told = {"kind": "cancel", "key": self._generator.key(number), "nonce": placed.nonce}
        self._write(
            "invoke",
            **told,
            due=due,
            content={"order_id": placed.order_id, "lines": lines},
            payload_sha256=hashlib.sha256(canonical(body)).hexdigest(),
        )
        self._conclude(told, await self._client.cancel(placed.order_id, str(told["key"]), lines))

    def _conclude(self, told: dict[str, str], outcome: Outcome) -> None:
        fields = describe(outcome)
        if isinstance(outcome, Acknowledged):
            self._write("ok", **told, **fields)
        elif isinstance(outcome, Unknown):
            self._write("unknown", **told, **fields)
        else:
            self._write("fail", **told, **fields)
            self.counts["declined"] += told["kind"] == "place" and "order_id" in fields

    def _write(self, op: Operation, **fields: Any) -> None:
        self.counts[op] += 1
        self._history.write(op, **fields)


def describe(outcome: Outcome) -> dict[str, Any]:
    """The fields of a terminal line that come from the answer; what it does not have is left out."""
    body = outcome.body
    found = {
        "status": outcome.status,
        "problem": outcome.problem,
        "order_id": body.get("id") if isinstance(outcome, Acknowledged) else body.get("order_id"),
        "order_status": body.get("status") if isinstance(outcome, Acknowledged) else None,
        "number": body.get("number"),
        "content_hash": (body.get("receipt") or {}).get("content_hash"),
        "gross": (body.get("totals") or {}).get("gross"),
        "receipt": body.get("receipt"),
    }
    known = {name: value for name, value in found.items() if value is not None}
    return {"attempts": outcome.attempts, "broken": outcome.broken, "ambiguous": outcome.ambiguous, **known}
