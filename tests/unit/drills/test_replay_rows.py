"""Reading the wholesaler's file and judging its rows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from standfest.emergency.drills.replay.countries import CODES, country_code
from standfest.emergency.drills.replay.judge import is_charge, refusal
from standfest.emergency.drills.replay.rows import COLUMNS, FileUnusable, Row, Unreadable, read_rows

HEADER = ",".join(COLUMNS) + "\n"
ROW = Row(
    1,
    "536365",
    "85123A",
    "HOLDER",
    6,
    datetime.fromisoformat("2010-12-01 08:26:00"),
    Decimal("2.55"),
    "17850",
    "France",
)


def read(*lines: str) -> list[Row | Unreadable]:
    """Reads a file of these lines, the header apart."""
    return list(read_rows([HEADER, *lines]))


def test_a_row() -> None:
    """A row is read field by field; the customer loses its decimal, the description its spare spaces."""
    line = '536365,85123A," HANGING  HEART, WHITE ",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n'
    (row,) = read(line)
    assert row == replace(ROW, description="HANGING HEART, WHITE", country="United Kingdom")


def test_a_guest() -> None:
    """A row without a customer is a guest's, one without a description is still a row."""
    (row,) = read("536544,21773,,1,2010-12-01 14:32:00,2.51,,United Kingdom\n")
    assert isinstance(row, Row)
    assert row.customer is None
    assert row.description == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,A,X,6,2010-12-01 08:26:00,2.55,1\n", "columns"),
        ("1,A,X,six,2010-12-01 08:26:00,2.55,1,France\n", "quantity"),
        ("1,A,X,1.5,2010-12-01 08:26:00,2.55,1,France\n", "quantity"),
        ("1,A,X,6,yesterday,2.55,1,France\n", "date"),
        ("1,A,X,6,2010-12-01 08:26:00,cheap,1,France\n", "price"),
        ("1,A,X,6,2010-12-01 08:26:00,NaN,1,France\n", "price"),
        ("1,A,X,6,2010-12-01 08:26:00,Infinity,1,France\n", "price"),
    ],
)
def test_unreadable_rows_say_why(line: str, reason: str) -> None:
    """A row of which no sense can be made keeps its number and says what is wrong with it."""
    first, second = read("1,A,X,6,2010-12-01 08:26:00,1,1,France\n", line)
    assert isinstance(first, Row)
    assert isinstance(second, Unreadable)
    assert second.number == 2
    assert reason in second.reason


def test_another_file() -> None:
    """A file with other columns is refused as a whole."""
    with pytest.raises(FileUnusable, match="expected the columns InvoiceNo"):
        list(read_rows(["a,b\n", "1,2\n"]))
    with pytest.raises(FileUnusable, match="expected the columns InvoiceNo"):
        list(read_rows([]))


def test_a_file_that_breaks_off() -> None:
    """A file that ends in the middle is refused, not taken for a shorter one."""

    def broken() -> Iterator[str]:
        yield HEADER
        raise EOFError("Compressed file ended")

    with pytest.raises(FileUnusable, match="breaks off near line 1"):
        list(read_rows(broken()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"quantity": -1}, "write-off"),
        ({"quantity": -1, "unit_price": Decimal(0)}, "write-off"),
        ({"quantity": 0}, "quantity is zero"),
        ({"unit_price": Decimal(0)}, "price is zero"),
        ({"unit_price": Decimal("-1062.06")}, "price is negative"),
        ({"unit_price": Decimal("0.00001")}, "decimals"),
        ({"unit_price": Decimal("1e9")}, "nine digits"),
        ({"invoice": "A506401", "unit_price": Decimal("-1062.06")}, "bad-debt"),
        ({"invoice": "X1"}, "no order's"),
        ({"invoice": ""}, "no order's"),
        ({"sku": ""}, "stock code"),
        ({"sku": "x" * 65}, "stock code"),
        ({"invoice": "C536379", "quantity": -1}, None),
        ({"invoice": "C536379", "quantity": -1, "unit_price": Decimal(0)}, None),
        ({"invoice": "C536379", "quantity": 1}, "not negative"),
        ({"sku": "POST"}, None),
    ],
)
def test_refusal(changes: dict[str, object], reason: str | None) -> None:
    """A row is a line, a cancellation, or refused for the first reason that holds."""
    refused = refusal(replace(ROW, **changes))  # type: ignore[arg-type]
    assert refused is None if reason is None else reason in (refused or "")


@pytest.mark.parametrize(
    ("sku", "charge"),
    [
        ("POST", True),
        ("m", True),
        ("BANK CHARGES", True),
        ("gift_0001_40", True),
        ("85123A", False),
        ("DCGS0076", False),
        ("PADS", False),
    ],
)
def test_charges(sku: str, charge: bool) -> None:
    """Postage, fees and vouchers are charges; articles with odd codes are not."""
    assert is_charge(sku) is charge


def test_countries() -> None:
    """Every name has a code of two capital letters; what names no country is the wholesaler's own."""
    assert all(len(code) == 2 and code.isupper() for code in CODES.values())
    assert country_code("EIRE") == "IE"
    assert country_code("European Community") == country_code("Unspecified") == "GB"
