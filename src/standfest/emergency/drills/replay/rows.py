"""The wholesaler's file: one CSV row an order line, with all its quirks, read but not judged.

Columns as in "Online Retail" (UCI Machine Learning Repository, data set 352), plain or gzipped, UTF-8.
"""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TextIO

from standfest.errors import StandfestError

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)

GZIP_MAGIC = b"\x1f\x8b"


class FileUnusable(StandfestError):
    """The file cannot be read at all, or is not one of the wholesaler's."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One readable row."""

    number: int
    """1 for the first row after the header."""
    invoice: str
    sku: str
    description: str
    """Without surrounding and doubled spaces; empty where it is missing."""
    quantity: int
    at: datetime
    """Local time of the wholesaler, to the minute."""
    unit_price: Decimal
    customer: str | None
    """None for a guest."""
    country: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One row of which no sense can be made, and why."""

    number: int
    reason: str


def open_file(path: Path) -> TextIO:
    """Opens the file, gzipped or not, as text. Raises FileUnusable."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        if zipped:
            return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise FileUnusable(f"{path} cannot be opened ({error.strerror}): give a CSV file's path") from error


def read_rows(lines: Iterable[str]) -> Iterator[Row | Unreadable]:
    """Every row after the header, in the order of the file. Raises FileUnusable where it is no such file."""
    reader = csv.reader(lines)
    try:
        header = next(reader, None)
        if header is None or tuple(header) != COLUMNS:
            raise FileUnusable(f"the first line names {header}; expected the columns {', '.join(COLUMNS)}")
        for number, values in enumerate(reader, start=1):
            yield _read(number, values)
    except (OSError, EOFError, zlib.error) as error:
        raise FileUnusable(f"the file breaks off near line {reader.line_num} ({error}): fetch it again") from error
    except (UnicodeDecodeError, csv.Error) as error:
        reason = f"is no CSV in UTF-8 near line {reader.line_num} ({error})"
        raise FileUnusable(f"the file {reason}: convert it first") from error


def _read(number: int, values: list[str]) -> Row | Unreadable:
    if len(values) != len(COLUMNS):
        return Unreadable(number, f"the row does not have {len(COLUMNS)} columns")
    invoice, sku, description, quantity, at, unit_price, customer, country = (value.strip() for value in values)
    try:
        price = Decimal(unit_price)
        if not price.is_finite():
            return Unreadable(number, "the price is not a number")
        return Row(
            number,
            invoice,
            sku,
            " ".join(description.split()),
            int(quantity),
            datetime.fromisoformat(at),
            price,
            customer.removesuffix(".0") or None,
            country,
        )
    except InvalidOperation:
        return Unreadable(number, "the price is not a number")
    except ValueError:
        return Unreadable(number, "the quantity is no whole number or the date none of ISO 8601")
