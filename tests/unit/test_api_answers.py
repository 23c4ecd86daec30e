"""How amounts look, what problems say, and that the OpenAPI document covers what is there."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import msgspec
import pytest

from standfest.domain.faults import Fault
from standfest.interfaces.api.answers import order_answer, price
from standfest.interfaces.api.app import ROUTES
from standfest.interfaces.api.errors import problem_of
from standfest.interfaces.api.openapi import document
from standfest.interfaces.api.operations import PUBLIC
from standfest.interfaces.api.problems import FAULTS_MAX, KINDS, invalid
from standfest.storage.errors import DatabaseUnavailable, PoolBusy
from standfest.telemetry.logs import hide_secrets
from tests.unit.trade import line, order_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2.55", "2.55"),
        ("2.5500", "2.55"),
        ("2", "2.00"),
        ("2.1234", "2.1234"),
        ("0.0010", "0.001"),
        ("1E+3", "1000.00"),
    ],
)
def test_a_price_looks_the_same_wherever_it_comes_from(value: str, text: str) -> None:
    """Two to four decimals, without zeros that say nothing."""
    assert price(Decimal(value)) == text


def test_a_problem_names_a_bounded_number_of_faults() -> None:
    """Two thousand faulty lines do not make an answer of a megabyte."""
    problem = invalid("invalid-content", [Fault(f"/lines/{n}/sku", "unknown-sku", "no") for n in range(2_000)])
    read = json.loads(problem.document("r"))
    assert len(read["errors"]) == FAULTS_MAX
    assert "1999 more" in read["detail"]


def test_every_route_is_in_the_document_with_its_scopes_and_problems() -> None:
    """Nothing can be asked for that the document does not describe, and every reference leads somewhere."""
    described = document(ROUTES)
    names = {operation["operationId"] for path in described["paths"].values() for operation in path.values()}
    operations = [route.operation for route in ROUTES]
    assert len(operations) == len(ROUTES) == len(names)
    for path in described["paths"].values():
        for operation in path.values():
            assert (operation["security"] == []) == ("401" not in operation["responses"])
    text = json.dumps(described)
    for reference in set(re.findall(r'"#/([^"]+)"', text)):
        node = described
        for step in reference.split("/"):
            node = node[step]
    assert "(?!" not in text


def test_only_what_must_be_is_public() -> None:
    """All that touches orders, products, stock or changes needs a key."""
    public = {route.operation.id for route in ROUTES if route.operation.scopes == PUBLIC}
    assert public == {"live", "ready", "health", "metrics", "openapi", "readReceiptKey", "receiptsStatement"}


def test_every_problem_that_is_documented_exists() -> None:
    """An operation can only name slugs that there are."""
    named = {slug for route in ROUTES for slug in route.operation.problems}
    assert named <= set(KINDS)


def test_a_full_pool_is_an_overload_and_a_lost_database_is_not() -> None:
    """Who has to wait for a place is told 429, who has to wait for the database 503; both when to come back."""
    busy, away = problem_of(PoolBusy("all in use")), problem_of(DatabaseUnavailable("no primary"))
    assert busy is not None
    assert away is not None
    assert (busy.status, busy.slug, busy.headers) == (429, "overloaded", {"Retry-After": "1"})
    assert (away.status, away.slug, away.headers) == (503, "unavailable", {"Retry-After": "1"})


def test_an_order_in_a_state_of_a_later_release_is_shown() -> None:
    """While two releases run side by side, the older one shows what the newer one stores."""
    stored = msgspec.structs.replace(order_of("confirmed", line(1, 1)), status="shipped")
    assert json.loads(msgspec.json.encode(order_answer(stored)))["status"] == "shipped"


def test_secrets_do_not_reach_the_log() -> None:
    """Values of fields with such names are hidden, whoever logs them."""
    event = hide_secrets(None, "info", {"event": "x", "Authorization": "Bearer sf_a_b", "body": "{}"})
    assert event == {"event": "x", "Authorization": "[hidden]", "body": "[hidden]"}
