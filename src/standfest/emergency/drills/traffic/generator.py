"""Made-up orders with the traits of a wholesaler's real ones.

Each order is a function of (seed, run, number) alone: a run can be made again, in any sequence.
The figures are those of the invoices in "Online Retail" (UCI data set 352) that are orders.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

QUANTITIES = (1, 2, 12, 6, 4, 3, 24, 10, 8, 5, 25, 48, 100, 500)
QUANTITY_WEIGHTS = (280, 155, 115, 78, 73, 70, 45, 42, 25, 22, 10, 8, 4, 1)
COUNTRIES = ("GB", "DE", "FR", "IE", "NL", "ES", "BE", "CH")
COUNTRY_WEIGHTS = (912, 25, 20, 16, 5, 5, 5, 4)
PARTIES = ("customer", "ship_to")
"""Fields of a made-up order that say who is concerned."""
POPULARITY = 2.5
"""Exponent of the choice of products: with it the tenth most popular sell about 40 % of all lines."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What the orders are like."""

    lines_median: float = 15.0
    lines_mean: float = 25.0
    """With the median it gives the long tail: numbers of lines are log-normal."""
    lines_max: int = 1114
    guests_share: float = 0.09
    """Orders without a customer's reference."""
    doubles_share: float = 0.12
    """Orders of two lines or more that name the first line's product again."""
    priced_share: float = 0.0
    """Orders that carry their own unit prices; the client then needs the scope orders:price."""
    customers: int = 4000

    def draw_lines(self, random: Random) -> int:
        """The number of lines of one order."""
        sigma = math.sqrt(2.0 * math.log(self.lines_mean / self.lines_median))
        return max(1, min(self.lines_max, round(random.lognormvariate(math.log(self.lines_median), sigma))))


SMALL_ORDERS = Traits(lines_median=3.0, lines_mean=4.0, lines_max=40)
"""For drills that look at the number of orders and not at their size."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the API takes it, and how many pieces are there at the beginning."""

    sku: str
    name: str
    net_price: Decimal
    stock_policy: str
    on_hand: int

    def as_product(self) -> dict[str, Any]:
        """The entry for PUT /v1/products."""
        return {
            "sku": self.sku,
            "name": {"de": f"Übungsartikel {self.name}", "en": f"Drill article {self.name}"},
            "unit": "piece",
            "unit_decimals": 0,
            "net_price": str(self.net_price),
            "tax_class": "standard",
            "active": True,
            "stock_policy": self.stock_policy,
        }

    def as_stock(self) -> dict[str, str]:
        """The entry for PUT /v1/stock."""
        return {"sku": self.sku, "on_hand": str(self.on_hand)}


def make_products(
    count: int, *, seed: int, prefix: str = "DRILL", on_hand: int = 100_000_000, scarce_share: float = 0.0
) -> list[Product]:
    """Products that a drill can sell, most of them tracked and plentiful.

    One in twenty is untracked, one in twenty takes backorders beyond a hundredth of the stock, and
    `scarce_share` of the rest have 100 pieces, so that orders get declined.
    """
    random = Random(f"products:{seed}")
    products = []
    for number in range(1, count + 1):
        price = (Decimal(random.lognormvariate(math.log(2.9), 0.9)) + Decimal("0.01")).quantize(Decimal("0.01"))
        policy, pieces = "tracked", on_hand
        if number % 20 == 7:
            policy, pieces = "untracked", 0
        elif number % 20 == 13:
            policy, pieces = "backorder", on_hand // 100
        elif random.random() < scarce_share:
            pieces = 100
        products.append(Product(f"{prefix}-{number:05d}", f"{number:05d}", price, policy, pieces))
    return products


@dataclass(frozen=True, slots=True)
class MadeOrder:
    """One order: what is sent, and what the history says about it."""

    key: str
    nonce: str
    body: Mapping[str, Any]
    payload: bytes = field(repr=False)
    """The body's bytes as sent: canonical JSON (RFC 8785), so that its hash is the product's request hash."""

    @property
    def payload_sha256(self) -> str:
        """The request hash that the product should come to."""
        return hashlib.sha256(self.payload).hexdigest()

    def content(self) -> dict[str, Any]:
        """What was ordered, as the history records it."""
        lines = [[line["sku"], line["quantity"], line.get("unit_price")] for line in self.body["lines"]]
        return {
            "parties": {name: self.body[name] for name in PARTIES},
            "currency": self.body["currency"],
            "lines": lines,
        }


def canonical(body: Mapping[str, Any]) -> bytes:
    """The canonical JSON of a body without fractions whose names are ASCII: for these it is sorted JSON."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


class OrderGenerator:
    """Makes the orders of one run. `run` tells this run's keys and nonces from those of every other run."""

    def __init__(self, products: Sequence[Product], *, seed: int, run: str, traits: Traits | None = None) -> None:
        if not products:
            raise ValueError("orders need at least one product")
        self.products = products
        self.run = run
        self.seed = seed
        self._traits = traits or Traits()

    def key(self, number: int) -> str:
        """The Idempotency-Key of a run's submission with this number."""
        return f"{self.run}-{number}"

    def nonce(self, number: int) -> str:
        """What tells this order from every other one, in the order itself: 32 hexadecimal digits."""
        return hashlib.blake2b(f"{self.run}:{number}".encode(), digest_size=16).hexdigest()

    def order(self, number: int) -> MadeOrder:
        """The order with this number in the run."""
        random = Random(f"{self.seed}:{self.run}:{number}")
        nonce = self.nonce(number)
        customer, name = self._customer(random)
        address = {
            "name": name,
            "street": f"Drill Street {random.randint(1, 200)}",
            "postal_code": f"{random.randint(0, 99999):05d}",
            "city": "Drill",
            "country": random.choices(COUNTRIES, COUNTRY_WEIGHTS)[0],
        }
        body = {
            "customer": customer,
            "ship_to": address,
            "currency": "EUR",
            "lines": self._lines(random),
            "external_reference": nonce,
        }
        return MadeOrder(self.key(number), nonce, body, canonical(body))

    def _customer(self, random: Random) -> tuple[dict[str, str], str]:
        if random.random() < self._traits.guests_share:
            return {"name": "Guest"}, "Guest"
        number = random.randint(1, self._traits.customers)
        return {
            "reference": f"DRILL-{number}",
            "name": f"Drill customer {number}",
        }, f"Drill customer {number}"

    def _lines(self, random: Random) -> list[dict[str, str]]:
        chosen = [self._product(random) for _ in range(self._traits.draw_lines(random))]
        if len(chosen) > 1 and random.random() < self._traits.doubles_share:
            chosen[-1] = chosen[0]
        quantities = random.choices(QUANTITIES, QUANTITY_WEIGHTS, k=len(chosen))
        lines = [
            {"sku": product.sku, "quantity": str(quantity)}
            for product, quantity in zip(chosen, quantities, strict=True)
        ]
        if random.random() < self._traits.priced_share:
            for line, product in zip(lines, chosen, strict=True):
                line["unit_price"] = str(product.net_price)
        return lines

    def _product(self, random: Random) -> Product:
        return self.products[int(len(self.products) * random.random() ** POPULARITY)]
