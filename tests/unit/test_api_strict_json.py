"""Strict JSON: one meaning, or a fault with a pointer; whatever comes, never another error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from standfest.domain.faults import Invalid
from standfest.interfaces.api.strict_json import MAX_DEPTH, parse, parse_thoroughly, pointer

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_json_can_say_is_read_as_it_was_written(value: Any, escaped: bool) -> None:
    """Any value that is not too deep comes back the same, with escapes or without."""
    assert parse(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf{}")
@example(b'{"a":1e999}')
@example(b'["\\ud800"]')
@example(b"[" * 100_000)
@example(b'{"":{"":' * 30)
def test_any_bytes_are_a_value_or_a_fault(raw: bytes) -> None:
    """Nothing but Invalid is raised, and what is accepted can be written as JSON in UTF-8 again."""
    try:
        value = parse(raw)
    except Invalid:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@given(st.text(alphabet='{}[]",:\\u0dD8e+-.19 an', max_size=40))
def test_text_that_looks_like_json_is_a_value_or_a_fault(text: str) -> None:
    """The same for text of JSON's own characters, where the parser gets further."""
    test_any_bytes_are_a_value_or_a_fault.hypothesis.inner_test(text.encode())  # type: ignore[attr-defined]


def _members(names: list[str]) -> bytes:
    return b"{" + ",".join(f'"{name}":"{name}"' for name in names).encode() + b"}"


MEMBER_NAMES = st.sampled_from(["a", "b", ":", "\\u0061", "\\ud800"])


@given(
    st.binary(max_size=50)
    | st.text(alphabet='{}[]",:\\u0dD8e+-.19 an', max_size=40).map(str.encode)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.lists(MEMBER_NAMES, max_size=4).map(_members)
)
@example(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
@example(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
def test_the_quick_way_says_what_the_thorough_one_says(raw: bytes) -> None:
    """Whatever is read without a closer look is what a closer look finds."""

    def said(read: Callable[[bytes], Any]) -> str:
        try:
            return repr(read(raw))
        except Invalid as fault:
            return repr(fault.faults)

    assert said(parse) == said(parse_thoroughly)


@pytest.mark.parametrize(
    ("raw", "where", "code"),
    [
        (b'{"a": 1, "a": 2}', "/a", "duplicate-member"),
        (b'{"b": [{"x/y": 1, "x/y": 2}]}', "/b/0/x~1y", "duplicate-member"),
        (b'{"a": {"c": 1, "c": 2}, "a": 1}', "/a", "duplicate-member"),
        (b'{"~": {"\\u0061": 1, "a": 2}}', "/~0/a", "duplicate-member"),
        (b'[0, "\\udc00"]', "/1", "lone-surrogate"),
        (b'[{"\\ud800": 1}]', "/0", "lone-surrogate"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "/0" * MAX_DEPTH, "too-deep"),
        (b'{"a": nan}', "", "malformed-json"),
        (b'{"a": NaN}', "", "malformed-json"),
        (b'{"a": [' + b"[]," * 20_000 + b"[]]}", "", "too-many-values"),
        (b'{"a": [' + b"1," * 40_000 + b'1], "b": {"c": 1, "c": 2}}', "", "too-many-values"),
        (b'["' + rb"\\" + b'",' + b"1," * 40_000 + b'"]"]', "", "too-many-values"),
        (b"1" * 33, "", "number-out-of-range"),
        (b"1e400", "", "number-out-of-range"),
        (b"\xff", "", "wrong-encoding"),
        (b"", "", "malformed-json"),
    ],
)
def test_a_fault_has_a_pointer_and_a_code(raw: bytes, where: str, code: str) -> None:
    """Faults in a node point at the node, faults in the text at the whole document."""
    with pytest.raises(Invalid) as caught:
        parse(raw)
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [(where, code)]


@pytest.mark.parametrize(
    "body",
    [
        {"lines": [dict.fromkeys(("sku", "quantity", "unit_price", "note"), "1") for _ in range(2_000)]},
        {"products": [dict.fromkeys("abcdefgh", "1") | {"a": {"de": "x", "en": "y"}} for _ in range(1_000)]},
        {"lines": [{"note": 'a "quoted\\" \u2028 note, of {[:,]}' * 50} for _ in range(300)]},
    ],
    ids=["order", "products", "notes"],
)
def test_the_largest_body_that_makes_sense_is_read(body: Any) -> None:
    """The bound on values is on what no order and no catalogue needs, and does not look into strings."""
    for escaped in (False, True):
        assert parse(json.dumps(body, ensure_ascii=escaped).encode()) == body


def test_the_deepest_that_is_allowed_is_read() -> None:
    """The bound is on what is deeper."""
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize(("raw", "value"), [(b"3.0", 3), (b"30e-1", 3), (b"-0", 0), (b"3.5", 3.5), (b"1e3", 1000)])
def test_numbers_are_what_they_mean(raw: bytes, value: float) -> None:
    """3.0 and 3 are one number, however it is written."""
    read = parse(raw)
    assert (read, type(read)) == (value, type(value))


def test_a_surrogate_pair_is_one_character() -> None:
    """Both halves together are fine."""
    assert parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


def test_pointers_are_escaped() -> None:
    """`~` and `/` in names are escaped as RFC 6901 says."""
    assert pointer(("a/b", 0, "~")) == "/a~1b/0/~0"
