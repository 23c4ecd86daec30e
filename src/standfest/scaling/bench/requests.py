"""Requests as bytes, made as cheaply as they can be: whoever sends them shares the machine with what is measured."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

SKU = "BENCH-%05d"
"""A product of the benchmarks, by its number from 0."""
CUSTOMERS = 100
_SHIP_TO = {
    "name": "Erika Mustermann",
    "street": "Heidestr. 17",
    "postal_code": "51147",
    "city": "Koeln",
    "country": "DE",
}


def agreed(customer: int) -> dict[str, Any]:
    """What an order of this customer (by number) agrees on, apart from its lines."""
    return {"customer": {"name": "Erika Mustermann", "reference": f"C-{customer:04d}"}, "ship_to": _SHIP_TO}


def product(number: int) -> dict[str, Any]:
    """A product as `putProducts` takes it."""
    return {
        "sku": SKU % number,
        "name": {"de": f"Artikel {number:05d}", "en": f"Article {number:05d}"},
        "unit": "piece",
        "unit_decimals": 0,
        "net_price": "10.50",
        "tax_class": "standard",
        "active": True,
        "stock_policy": "tracked",
    }


def orders(key: str, run: str, *, products: int, lines: int, seed: str) -> Iterator[bytes]:
    """Orders without end, each of `lines` different products out of `products`, each with a key of its own.

    Each line has a part of the catalogue of its own, in ascending order: so `reference.sql` chooses as well.
    """
    rng = random.Random(seed)
    width = products // lines
    before = json.dumps({"currency": "EUR", "ship_to": _SHIP_TO})[:-1].encode()
    line = b'{"sku": "%s", "quantity": "%%d"}' % SKU.encode()
    body = before + b', "external_reference": "%s", "customer": {"name": "Erika Mustermann", "reference": "C-%04d"}'
    body += b', "lines": [' + b", ".join([line] * lines) + b"]}"
    head = _head("POST /v1/orders", key) + b"Content-Type: application/json\r\n"
    head += b"Idempotency-Key: %s\r\nContent-Length: %d\r\n\r\n"
    number = 0
    while True:
        number += 1
        name = b"%s-%08d" % (run.encode(), number)
        wanted: list[int] = []
        for part in range(lines):
            wanted += (part * width + int(rng.random() * width), 1 + int(rng.random() * 9))
        sent = body % (name, int(rng.random() * CUSTOMERS), *wanted)
        yield head % (name, len(sent)) + sent


def reads(key: str, paths: Sequence[str], *, seed: str) -> Iterator[bytes]:
    """Reads without end, of these paths in any order."""
    rng = random.Random(seed)
    while True:
        yield _head(f"GET {rng.choice(paths)}", key) + b"\r\n"


def _head(line: str, key: str) -> bytes:
    return f"{line} HTTP/1.1\r\nHost: standfest\r\nAuthorization: Bearer {key}\r\n".encode()
