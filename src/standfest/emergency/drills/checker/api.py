"""Reads orders and stock through the public HTTP API, as any client would."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

from .model import PARTIES, CheckerError, FoundLine, FoundOrder, StockCount, Unseen

AT_A_TIME = 16
"""Requests under way: enough to be quick, too few to disturb."""
ATTEMPT_TIMEOUT_S = 5.0
PAUSE_S = 0.25
DEADLINE_S = 20.0
"""How long one order is asked for, on the doors in turn, before it counts as unread."""

T = TypeVar("T")


class Api:
    """The doors and one client's key, within an open HTTP session; made by the caller."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        doors: Sequence[str],
        key: str,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        if not doors:
            raise CheckerError("no door was given: name at least one URL of the API")
        self._session = session
        self._doors = doors
        self._deadline_s = deadline_s
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}

    async def orders(self, order_ids: Sequence[str]) -> dict[str, FoundOrder | Unseen]:
        """What `GET /v1/orders/{id}` answers for each."""

        async def one(order_id: str) -> FoundOrder | Unseen:
            answer = await self._get(f"/v1/orders/{quote(order_id, safe='')}")
            return answer if isinstance(answer, Unseen) else read_order(answer)

        return await _each(order_ids, one)

    async def stock(self, skus: Sequence[str]) -> dict[str, StockCount | Unseen]:
        """What `GET /v1/stock/{sku}` answers for each."""

        async def one(sku: str) -> StockCount | Unseen:
            answer = await self._get(f"/v1/stock/{quote(sku, safe='')}")
            return answer if isinstance(answer, Unseen) else read_stock(answer)

        return await _each(skus, one)

    async def _get(self, path: str) -> Mapping[str, Any] | Unseen:
        """The JSON of a 200, ABSENT for a 404; every other answer is asked for again until the deadline."""
        deadline = time.monotonic() + self._deadline_s
        attempt = 0
        while time.monotonic() < deadline:
            door = self._doors[attempt % len(self._doors)]
            attempt += 1
            try:
                status, body = await self._attempt(door + path)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                status, body = 0, {}
            if status == 200:
                return body
            if status == 404:
                return Unseen.ABSENT
            if status in (401, 403):
                raise CheckerError(f"the API refuses the key for {path} ({status}): use one that may read it")
            await asyncio.sleep(PAUSE_S)
        return Unseen.UNREAD

    async def _attempt(self, url: str) -> tuple[int, Mapping[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S)
        async with self._session.get(url, headers=self._headers, timeout=timeout) as response:
            return response.status, await response.json() if response.status == 200 else {}


async def _each(names: Sequence[str], one: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    """Asks for each, a bounded number at a time; the first CheckerError ends it."""
    waiting = iter(names)
    found: dict[str, T] = {}

    async def work() -> None:
        for name in waiting:
            found[name] = await one(name)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(work())
    except ExceptionGroup as errors:
        # Not `except*`: Debian 12's Python (3.11.2) puts what is raised in one into a group again.
        mine, others = errors.split(CheckerError)
        if mine is None or others is not None:
            raise
        raise CheckerError(str(mine.exceptions[0])) from errors
    return found


def read_order(body: Mapping[str, Any]) -> FoundOrder:
    """The order in an answer of version 1 of the API; CheckerError where it is not one."""
    try:
        return FoundOrder(
            order_id=body["id"],
            nonce=body.get("external_reference"),
            status=body["status"],
            number=body["number"],
            currency=body["currency"],
            net=Decimal(body["totals"]["net"]),
            gross=Decimal(body["totals"]["gross"]),
            lines=[_line(line) for line in body["lines"]],
            parties={name: body[name] for name in PARTIES if name in body},
            tax=sum((Decimal(group["amount"]) for group in body["totals"]["tax"]), Decimal(0)),
        )
    except (KeyError, TypeError, InvalidOperation) as error:
        raise CheckerError(f"the API's answer is not an order as version 1 describes it: {error!r}") from error


def _line(line: Mapping[str, Any]) -> FoundLine:
    return FoundLine(
        position=line["position"],
        sku=line["sku"],
        quantity=Decimal(line["quantity"]),
        unit_price=Decimal(line["unit_price"]),
        net=Decimal(line["net"]),
        reserved=Decimal(line["reserved"]),
        backordered=Decimal(line["backordered"]),
        cancelled=Decimal(line["cancelled"]),
    )


def read_stock(body: Mapping[str, Any]) -> StockCount:
    """The count in an answer of version 1 of the API; CheckerError where it is not one."""
    try:
        return StockCount(Decimal(body["on_hand"]), Decimal(body["reserved"]))
    except (KeyError, TypeError, InvalidOperation) as error:
        raise CheckerError(f"the API's answer is not a stock count: {error!r}") from error
