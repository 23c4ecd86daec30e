"""Before the traffic: what it sells is put into catalogue and stock, and the history says what was there."""

import asyncio
from collections.abc import Sequence

from standfest.clients.attempts import Acknowledged, Outcome
from standfest.clients.orders import OrdersClient
from standfest.emergency.drills.history import HistoryWriter
from standfest.emergency.drills.traffic.generator import Product
from standfest.errors import StandfestError

AT_A_TIME = 16
"""Reads under way: enough to be quick, too few to disturb."""
NOTE_STOCK_MAX = 500
"""The most products in one `opening-stock` note."""


class TrafficNotReady(StandfestError):
    """What the traffic needs could not be put into the catalogue or the stock, or not be read back."""


async def prepare(client: OrdersClient, products: Sequence[Product], history: HistoryWriter) -> None:
    """Puts products and stock, reads the stock back, and notes it as `opening-stock`.

    The client's key needs the scopes catalogue:write and stock:write. Raises TrafficNotReady.
    """
    _demand("put its products", await client.put_products([product.as_product() for product in products]))
    counted = [product for product in products if product.stock_policy != "untracked"]
    _demand("put its stock", await client.put_stock([product.as_stock() for product in counted]))
    backorder = {product.sku for product in counted if product.stock_policy == "backorder"}
    stock: list[list[str]] = []
    for start in range(0, len(counted), AT_A_TIME):
        some = counted[start : start + AT_A_TIME]
        answers = await asyncio.gather(*(client.stock(product.sku) for product in some))
        for product, answer in zip(some, answers, strict=True):
            found = _demand(f"read the stock of {product.sku}", answer).body
            stock.append([product.sku, found["on_hand"], found["reserved"]])
    for start in range(0, len(stock), NOTE_STOCK_MAX):
        some_stock = stock[start : start + NOTE_STOCK_MAX]
        some_backorder = [sku for sku, _, _ in some_stock if sku in backorder]
        history.write("note", what="opening-stock", stock=some_stock, backorder=some_backorder)


def _demand(what: str, outcome: Outcome) -> Outcome:
    if isinstance(outcome, Acknowledged):
        return outcome
    answer = outcome.body.get("detail") or outcome.problem or outcome.status or "no door answered"
    advice = outcome.advice or "look at 'standfest status'"
    raise TrafficNotReady(f"the traffic could not {what}: {answer}; {advice}")
