"""Canonical JSON (RFC 8785) and the hash over it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.canonical import canonical_json, json_hash, plain_hash, plain_json

text = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


names = st.text(st.characters(codec="ascii"))
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


def independent(value: Any) -> str:
    """RFC 8785 for values without fractions, written down from its text: members sorted by UTF-16 code units."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{independent(name)}:{independent(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(independent(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@given(values)
def test_two_implementations_agree(value: Any) -> None:
    """The library's bytes are those of an implementation of a few lines; parsed again they are the same value."""
    made = canonical_json(value)
    assert made == independent(value).encode()
    assert json.loads(made) == value
    assert json_hash(value) == hashlib.sha256(independent(value).encode()).digest()


@given(st.dictionaries(text, values, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(value: dict[str, Any], random: Any) -> None:
    """The same members in any order, however they were spaced, have one hash."""
    names = list(value)
    random.shuffle(names)
    respaced = json.loads(json.dumps({name: value[name] for name in names}, indent=3))
    assert json_hash(respaced) == json_hash(value)


@given(plain_values)
def test_plain_values_are_written_alike_by_the_quick_way(value: Any) -> None:
    """For what is plain the quick encoder gives the very bytes of RFC 8785, whatever characters texts are made of."""
    assert plain_json(value) == canonical_json(value)
    assert plain_hash(value) == json_hash(value)


def test_the_rfcs_own_examples() -> None:
    """Numbers, escapes and literals of section 3.2.2, and the sorting of section 3.2.3."""
    value = json.loads(
        r'{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
        r' "string": "\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}'
    )
    assert canonical_json(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    names = ["€", "\r", "\ufb33", "1", "\U0001f600", "\x80", "ö"]
    assert list(json.loads(canonical_json(dict.fromkeys(names)))) == [
        "\r", "1", "\x80", "ö", "€", "\U0001f600", "\ufb33",
    ]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [({"a": "1"}, {"a": 1}), ({"a": None}, {}), (["a", "b"], ["b", "a"])])
def test_different_values_have_different_hashes(one: Any, other: Any) -> None:
    """A string is not a number, null is not nothing, and the order of a list counts."""
    assert json_hash(one) != json_hash(other)
