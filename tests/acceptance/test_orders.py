"""Orders through the doors of a whole cluster, as clients place them."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest

from standfest.clients.attempts import Acknowledged, Outcome, Refused
from standfest.clients.orders import OrdersClient
from tests.support.cluster import LocalCluster

SCOPES = ("orders:write", "orders:read", "catalogue:read", "catalogue:write", "stock:write")
CLIENTS = 200
PIECES = 100
DECIDED_TIMEOUT_S = 120.0
POLL_S = 0.1


@pytest.fixture(scope="module")
def key(cluster: LocalCluster) -> str:
    """The key of a client of its own."""
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    return str(json.loads(cluster.succeed("client", "add", "last-pieces", *scopes, "--json"))["key"])


def doors(cluster: LocalCluster) -> list[str]:
    """The addresses of both doors."""
    return [door.url for door in cluster.topology.doors]


def one_of(sku: str) -> dict[str, Any]:
    """An order of one piece."""
    ship_to = {"name": "Ada", "street": "Weg 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}
    line = {"sku": sku, "quantity": "1"}
    return {"customer": {"name": "Ada"}, "ship_to": ship_to, "currency": "EUR", "lines": [line]}


def verdict(outcome: Outcome) -> str:
    """The state that an order was told to be in."""
    return "declined" if isinstance(outcome, Refused) and outcome.status == 409 else str(outcome.body.get("status"))


async def decided(client: OrdersClient, outcome: Outcome) -> Outcome:
    """The outcome; where the order was accepted by the journal, the order as its turn decided it."""
    deadline = time.monotonic() + DECIDED_TIMEOUT_S
    while outcome.status == 202 or outcome.body.get("status") == "accepted":
        assert time.monotonic() < deadline, outcome
        await asyncio.sleep(POLL_S)
        outcome = await client.order(str(outcome.body["id"]))
    return outcome


async def sell_the_last_pieces(urls: list[str], key: str, sku: str) -> tuple[list[Outcome], Outcome]:
    """What became of the orders of all clients, sent at the same moment, and the stock afterwards."""
    product = {
        "sku": sku,
        "name": {"de": "Letzte", "en": "Last"},
        "unit": "piece",
        "unit_decimals": 0,
        "net_price": "1.00",
        "tax_class": "standard",
        "active": True,
        "stock_policy": "tracked",
    }
    async with OrdersClient(urls, key, connections=CLIENTS) as client:
        assert isinstance(await client.put_products([product]), Acknowledged)
        assert isinstance(await client.put_stock([{"sku": sku, "on_hand": str(PIECES)}]), Acknowledged)
        told = await asyncio.gather(*(client.place(one_of(sku), f"{sku}-{number}") for number in range(CLIENTS)))
        return [await decided(client, outcome) for outcome in told], await client.stock(sku)


def test_two_hundred_clients_share_the_last_hundred_pieces(cluster: LocalCluster, key: str) -> None:
    """Of 200 clients at once exactly 100 are sold a piece; the others are declined, and that is recorded."""
    outcomes, stock = asyncio.run(sell_the_last_pieces(doors(cluster), key, "last-piece"))
    assert Counter(verdict(outcome) for outcome in outcomes) == {"confirmed": PIECES, "declined": CLIENTS - PIECES}
    assert {name: stock.body[name] for name in ("on_hand", "reserved", "available")} == {
        "on_hand": str(PIECES),
        "reserved": str(PIECES),
        "available": "0",
    }
    refused = [outcome.body for outcome in outcomes if isinstance(outcome, Refused)]
    assert all(body["order_id"] and body["receipt"]["promise"] == "declined" for body in refused)
