"""A made-up file with the format and the quirks of the wholesaler's, for where the real one is not there.

Its stock codes carry its size and seed, so that no other file replayed into the same cluster shares its stock.
"""

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from standfest.emergency.drills.replay.rows import COLUMNS
from standfest.emergency.drills.traffic.generator import QUANTITIES, QUANTITY_WEIGHTS, Traits

FIRST_INVOICE = 700000
FIRST_DAY = datetime.fromisoformat("2024-01-08 08:00:00")
"""Without a zone, as all times of such a file."""
INVOICES_A_DAY = 80
CODES = 800
COUNTRIES = ("United Kingdom", "Germany", "France", "EIRE", "Channel Islands", "Unspecified")
COUNTRY_WEIGHTS = (91, 3, 2, 2, 1, 1)

# Shares of the invoices, near those of the real file.
CANCELLATIONS = 0.16
WRITE_OFFS = 0.06
BAD_DEBTS = 0.001
TWO_TIMES = 0.005
# Shares of the rows.
CHARGES = 0.006
NO_PRICE = 0.003
NO_DESCRIPTION = 0.004


@dataclass(frozen=True, slots=True)
class _Sold:
    customer: str
    country: str
    code: str
    quantity: int
    price: str


def synthetic_lines(invoices: int, *, seed: int) -> Iterator[str]:
    """The lines of a CSV file with so many invoices, of all kinds; always the same for a seed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in itertools.chain((COLUMNS,), _Maker(invoices, seed).rows()):
        writer.writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


class _Maker:
    def __init__(self, invoices: int, seed: int) -> None:
        self._invoices = invoices
        self._random = Random(f"synthetic:{seed}")
        self._traits = Traits()
        self._prices = {
            f"SYN-{invoices}-{seed}-{n:03d}": f"{self._random.lognormvariate(1.0, 0.9) + 0.05:.2f}"
            for n in range(CODES)
        }
        self._codes = list(self._prices)
        self._sold: list[_Sold] = []

    def rows(self) -> Iterator[tuple[object, ...]]:
        at = FIRST_DAY
        for number in range(FIRST_INVOICE, FIRST_INVOICE + self._invoices):
            at = self._next_time(at)
            kind = self._random.random()
            if kind < CANCELLATIONS and self._sold:
                yield from self._cancellation(f"C{number}", at)
            elif kind < CANCELLATIONS + WRITE_OFFS:
                yield str(number), self._code(), "damaged", -self._quantity(), at, "0.0", "", "United Kingdom"
            elif kind < CANCELLATIONS + WRITE_OFFS + BAD_DEBTS:
                yield f"A{number}", "B", "Adjust bad debt", 1, at, "-1062.06", "", "United Kingdom"
            else:
                yield from self._order(str(number), at)

    def _next_time(self, at: datetime) -> datetime:
        """Invoices come between 8 and 18 h, in peaks around noon; times have no seconds."""
        gap = timedelta(hours=10) / INVOICES_A_DAY * (0.4 if 11 <= at.hour < 14 else 1.6)
        at += gap * self._random.expovariate(1.0)
        if not 8 <= at.hour < 18:
            at = (at + timedelta(days=at.hour >= 18)).replace(hour=8, minute=0)
        return at.replace(second=0, microsecond=0)

    def _order(self, invoice: str, at: datetime) -> Iterator[tuple[object, ...]]:
        random = self._random
        guest = random.random() < self._traits.guests_share
        customer = "" if guest else f"{random.randint(12346, 12346 + max(1, self._invoices // 6))}.0"
        country = random.choices(COUNTRIES, COUNTRY_WEIGHTS)[0]
        codes = [self._code() for _ in range(self._traits.draw_lines(random))]
        if len(codes) > 1 and random.random() < self._traits.doubles_share:
            codes[-1] = codes[0]
        half = len(codes) // 2 if random.random() < TWO_TIMES else len(codes)
        for index, article in enumerate(codes):
            code, name = article, f"ARTICLE {article[4:]} "
            quantity, price = self._quantity(), self._prices[article]
            if random.random() < CHARGES:
                code, name, quantity, price = random.choice(("POST", "DOT", "M")), "POSTAGE", 1, "18.0"
            if random.random() < NO_DESCRIPTION:
                name = ""
            if random.random() < NO_PRICE:
                price = "0.0"
            elif not guest:
                self._sold.append(_Sold(customer, country, code, quantity, price))
            minute = at if index < half else at + timedelta(minutes=1)
            yield invoice, code, name, quantity, minute, price, customer, country

    def _cancellation(self, invoice: str, at: datetime) -> Iterator[tuple[object, ...]]:
        """Cancels lines sold, some of them in part, some for more pieces than were sold, some for nobody."""
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            sold = self._random.choice(self._sold)
            quantity = max(1, round(sold.quantity * self._random.choice((1, 1, 0.5, 2))))
            customer = "" if self._random.random() < 0.05 else sold.customer
            yield invoice, sold.code, "ARTICLE", -quantity, at, sold.price, customer, sold.country

    def _code(self) -> str:
        return self._codes[int(CODES * self._random.random() ** 2)]

    def _quantity(self) -> int:
        return self._random.choices(QUANTITIES, QUANTITY_WEIGHTS)[0]
