"""What the drills' checker reads through the HTTP API."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from standfest.emergency.drills.checker.api import Api
from standfest.emergency.drills.checker.model import CheckerError, FoundLine, FoundOrder, StockCount, Unseen

ORDER: dict[str, Any] = {
    "id": "o1",
    "number": "N1",
    "status": "confirmed",
    "customer": {"name": "Guest"},
    "ship_to": {"name": "Guest", "city": "Here"},
    "currency": "EUR",
    "external_reference": "n1",
    "lines": [
        {
            "position": 1,
            "sku": "A",
            "quantity": "1.5",
            "unit_price": "2.00",
            "net": "3.00",
            "reserved": "1.5",
            "backordered": "0",
            "cancelled": "0",
        }
    ],
    "totals": {
        "net": "3.00",
        "tax": [
            {"category": "S", "rate": "19.00", "base": "2.00", "amount": "0.38"},
            {"category": "S", "rate": "19.00", "base": "1.00", "amount": "0.19"},
        ],
        "gross": "3.57",
    },
}
FOUND = FoundOrder(
    order_id="o1",
    nonce="n1",
    status="confirmed",
    number="N1",
    currency="EUR",
    net=Decimal(3),
    gross=Decimal("3.57"),
    lines=[FoundLine(1, "A", Decimal("1.5"), Decimal(2), Decimal(3), Decimal("1.5"))],
    parties={"customer": {"name": "Guest"}, "ship_to": {"name": "Guest", "city": "Here"}},
    tax=Decimal("0.57"),
)

Ask = Callable[[Api], Awaitable[Any]]


class Door:
    """A door that answers each path from a list of answers, the last one for ever."""

    def __init__(self, **answers: list[tuple[int, Any]]) -> None:
        self.answers = answers
        self.keys: set[str | None] = set()

    async def handle(self, request: web.Request) -> web.Response:
        """The next answer for the last part of the path."""
        self.keys.add(request.headers.get("Authorization"))
        waiting = self.answers[request.path.rpartition("/")[2]]
        status, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return web.json_response(body, status=status)


def ask(door: Door, question: Ask, *, first: str | None = None, deadline_s: float = 1.0) -> Any:
    """Asks through this door, after the URL `first` if one is given."""

    async def work() -> Any:
        application = web.Application()
        application.router.add_get("/{path:.*}", door.handle)
        async with TestServer(application, host="127.0.24.10") as server, aiohttp.ClientSession() as session:
            url = str(server.make_url("")).rstrip("/")
            doors = [url] if first is None else [first, url]
            return await question(Api(session, doors, "secret", deadline_s))

    return asyncio.run(work())


def test_each_order_is_what_the_api_says() -> None:
    """An order that is there is read exactly, one that is not is absent, one without an answer is unread."""
    door = Door(o1=[(200, ORDER)], o2=[(404, {})], o3=[(503, {})])
    found = ask(door, lambda api: api.orders(["o1", "o2", "o3"]))
    assert found == {"o1": FOUND, "o2": Unseen.ABSENT, "o3": Unseen.UNREAD}
    assert door.keys == {"Bearer secret"}


def test_a_passing_failure_is_asked_again() -> None:
    """Neither a door that is away nor a 503 makes an order unread while there is time to ask again."""
    door = Door(o1=[(503, {}), (200, ORDER)])
    found = ask(door, lambda api: api.orders(["o1"]), first="http://127.0.24.11:1", deadline_s=10.0)
    assert found == {"o1": FOUND}


def test_stock() -> None:
    """Stock is read exactly; a SKU that is not there is absent, one without an answer unread."""
    there = {"sku": "A", "on_hand": "10", "reserved": "1.5", "available": "8.5"}
    door = Door(A=[(200, there)], B=[(404, {})], C=[(503, {})])
    assert ask(door, lambda api: api.stock(["A", "B", "C"])) == {
        "A": StockCount(Decimal(10), Decimal("1.5")),
        "B": Unseen.ABSENT,
        "C": Unseen.UNREAD,
    }


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}), "refuses the key"),
        ((200, {"id": "o1"}), "not an order"),
        ((200, ORDER | {"totals": {"net": "x", "gross": "y"}}), "not an order"),
    ],
)
def test_what_it_cannot_judge_by(answer: tuple[int, Any], message: str) -> None:
    """A refused key or an answer that is no order ends the check: neither says anything about orders."""
    with pytest.raises(CheckerError, match=message):
        ask(Door(o1=[answer]), lambda api: api.orders(["o1"]))
