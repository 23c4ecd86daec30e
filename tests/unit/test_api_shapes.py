"""Structs from JSON values: nothing is coerced, and each fault points at its field."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from standfest.domain.faults import Invalid
from standfest.domain.request import OrderRequest
from standfest.interfaces.api.shapes import shape


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1, le=3)]
    flag: bool = False


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    items: Annotated[list[Inner], Meta(max_length=2)]
    name: Annotated[str, Meta(max_length=3)] = ""


@pytest.mark.parametrize(
    ("value", "where", "code"),
    [
        (1, "", "wrong-type"),
        ([], "", "wrong-type"),
        ({}, "/items", "missing"),
        ({"items": [], "nmae": 1}, "/nmae", "unknown-field"),
        ({"items": [{"count": 1, "a/b~`x` - at `$.y`": 1}]}, "/items/0/a~1b~0`x` - at `$.y`", "unknown-field"),
        ({"items": [], "x" * 1000: 1}, "", "unknown-field"),
        ({"items": [{"count": 1}, {"count": "1"}]}, "/items/1/count", "wrong-type"),
        ({"items": [{"count": 1.5}]}, "/items/0/count", "wrong-type"),
        ({"items": [{"count": True}]}, "/items/0/count", "wrong-type"),
        ({"items": [{"count": 10**30}]}, "/items/0/count", "wrong-value"),
        ({"items": [{"count": 4}]}, "/items/0/count", "wrong-value"),
        ({"items": [{"count": 1, "flag": 0}]}, "/items/0/flag", "wrong-type"),
        ({"items": [{"count": 1}] * 3}, "/items", "wrong-length"),
        ({"items": [], "name": "abcd"}, "/name", "wrong-length"),
    ],
)
def test_a_fault_is_pointed_at(value: Any, where: str, code: str) -> None:
    """Types, bounds, missing and unknown fields, at any depth."""
    with pytest.raises(Invalid) as caught:
        shape(value, Outer)
    [fault] = caught.value.faults
    assert (fault.pointer, fault.code) == (where, code)
    assert "`" not in fault.detail


def test_a_text_of_the_wrong_form_is_explained_in_words() -> None:
    """Who reads the problem needs no regular expressions."""
    body = {"customer": {"name": "a\0"}, "ship_to": {}, "currency": "EUR", "lines": []}
    with pytest.raises(Invalid) as caught:
        shape(body, OrderRequest)
    assert caught.value.faults[0].detail == "control characters are not allowed"
