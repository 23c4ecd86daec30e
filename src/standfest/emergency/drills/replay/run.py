"""Sending a plan: many steps at a time, an order before its cancellations, at the file's pace if wanted."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from standfest.clients.attempts import Acknowledged, Outcome, Refused
from standfest.clients.orders import OrdersClient
from standfest.emergency.drills.replay.plan import Plan, PlannedCancellation, PlannedOrder, Step
from standfest.emergency.drills.replay.report import Fate, StepResult
from standfest.emergency.drills.replay.window import Window
from standfest.errors import StandfestError

CANCEL_REASON = "cancelled in the wholesaler's file"


KEY_REFUSED = (401, 403)


class ReplayNotReady(StandfestError):
    """Catalogue or stock could not be put, so no order was sent."""


class KeyRefused(StandfestError):
    """The API refuses the client's key, or the key lacks a scope: nothing more of the file can be sent."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An order as answered: what its cancellations need."""

    order_id: str
    positions: tuple[int, ...]
    """The position of each planned line."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of the steps, by key, and how long it took."""

    results: Mapping[str, StepResult]
    seconds: float
    """All steps, catalogue and stock not included."""


async def put_catalogue(client: OrdersClient, plan: Plan) -> dict[str, int]:
    """Puts products and opening stock; returns how many there are and changed. Raises ReplayNotReady."""
    products = [product.as_product() for product in plan.products]
    counts = [product.as_stock() for product in plan.products if product.tracked]
    put_products = _demand("products", await client.put_products(products))
    put_stock = _demand("stock", await client.put_stock(counts))
    return {
        "products": len(products),
        "products_changed": put_products["changed"],
        "stock_counts": len(counts),
        "stock_counts_changed": put_stock["changed"],
    }


def _demand(what: str, outcome: Outcome) -> Mapping[str, Any]:
    if isinstance(outcome, Acknowledged):
        return outcome.body
    raise ReplayNotReady(f"the file's {what} could not be put: {why(outcome)}; look at 'standfest status'")


class Replay:
    """Sends the steps of one plan, as many at a time as the window allows."""

    def __init__(
        self,
        client: OrdersClient,
        plan: Plan,
        *,
        window: Window,
        speed: float | None = None,
        on_result: Callable[[Step, StepResult], None] = lambda _step, _result: None,
    ) -> None:
        """
        Args:
            client: sends.
            plan: what is sent.
            window: bounds what is under way; whoever makes the client lets it tell the window of its attempts.
            speed: so many times faster than life by the file's times; None: as fast as answers come.
            on_result: told of each step that is done.
        """
        self._client = client
        self._plan = plan
        self._window = window
        self._speed = speed
        self._on_result = on_result
        self._results: dict[str, StepResult] = {}
        self._placed: dict[str, asyncio.Future[Placed | Fate]] = {}
        self._began = 0.0
        self._began_wall = datetime.now(UTC)

    async def run(self) -> Sent:
        """Sends every step; a step without a definite answer fails and stops nothing else. Raises KeyRefused."""
        loop = asyncio.get_running_loop()
        self._placed = {
            step.invoice: loop.create_future() for step in self._plan.steps if isinstance(step, PlannedOrder)
        }
        self._began, self._began_wall = time.monotonic(), datetime.now(UTC)
        steps = iter(self._plan.steps)
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._window.size):
                    workers.create_task(self._work(steps))
        except ExceptionGroup as errors:
            # Not `except*`: Debian 12's Python (3.11.2) puts what is raised in one into a group again.
            refused, others = errors.split(KeyRefused)
            if refused is None or others is not None:
                raise
            raise KeyRefused(str(refused.exceptions[0])) from errors
        return Sent(self._results, time.monotonic() - self._began)

    async def _work(self, steps: Iterator[Step]) -> None:
        # Steps are taken in the plan's sequence, so the order that a cancellation waits for is already with a
        # worker, and an order waits for nothing: the wait ends.
        for step in steps:
            await self._wait_until_due(step.at)
            result = await (self._place(step) if isinstance(step, PlannedOrder) else self._cancel(step))
            self._results[step.key] = result
            self._on_result(step, result)

    async def _wait_until_due(self, at: datetime) -> None:
        if self._speed is None:
            return
        offset: timedelta = at - self._plan.steps[0].at
        due = self._began + offset.total_seconds() / self._speed
        await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _place(self, order: PlannedOrder) -> StepResult:
        async with self._window:
            outcome = await self._client.place(order.body(), order.key)
        body = outcome.body
        result = self._result(outcome, "order")
        placed: Placed | Fate = result.fate
        if isinstance(outcome, Acknowledged):
            placed = Placed(body["id"], tuple(line["position"] for line in body["lines"]))
        self._placed[order.invoice].set_result(placed)
        return result

    async def _cancel(self, cancellation: PlannedCancellation) -> StepResult:
        placed = await self._placed[cancellation.order]
        if isinstance(placed, Fate):
            return StepResult(placed, f"the order that it cancels was {placed}")
        pieces: Counter[int] = Counter()
        for part in cancellation.parts:
            pieces[placed.positions[part.line]] += part.quantity
        lines = [(position, str(quantity)) for position, quantity in sorted(pieces.items())]
        async with self._window:
            outcome = await self._client.cancel(placed.order_id, cancellation.key, lines, CANCEL_REASON)
        return self._result(outcome, "cancellation")

    def _result(self, outcome: Outcome, what: str) -> StepResult:
        if outcome.status in KEY_REFUSED:
            raise KeyRefused(
                f"the API refuses the key ({why(outcome)}), so the rest was not sent: give it the scopes that "
                "`standfest replay --help` names, and replay again"
            )
        if isinstance(outcome, Acknowledged):
            fate, reason = Fate.DONE, ""
        elif isinstance(outcome, Refused):
            fate = Fate.REFUSED if is_declined(outcome) else Fate.REJECTED
            reason = f"the API refused the {what}: {why(outcome)}"
        else:
            fate, reason = Fate.FAILED, f"no definite answer to the {what}: {why(outcome)}"
        return StepResult(fate, reason, self._is_old(outcome), outcome.attempts, outcome.elapsed_s)

    def _is_old(self, outcome: Outcome) -> bool:
        """Whether the order was accepted before this replay began, by the receipt's time."""
        accepted_at = (outcome.body.get("receipt") or {}).get("accepted_at")
        return accepted_at is not None and datetime.fromisoformat(accepted_at) < self._began_wall


def is_declined(outcome: Outcome) -> bool:
    """Whether the refusal is recorded as a declined order."""
    return outcome.last is not None and outcome.last.is_recorded()


def why(outcome: Outcome) -> str:
    """The reason that an outcome without acknowledgement gives, short enough to be counted by."""
    errors = outcome.body.get("errors") or [{}]
    named = [
        str(outcome.status) if outcome.status else "no answer",
        outcome.problem,
        errors[0].get("code"),
        outcome.advice,
    ]
    return " ".join(part for part in named if part)
