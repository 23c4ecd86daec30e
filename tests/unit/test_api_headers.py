"""Idempotency keys, conditions and media types, as they come in headers."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.interfaces.api.asgi import Scope
from standfest.interfaces.api.conditions import if_match, require_match, require_single_step, unchanged
from standfest.interfaces.api.idempotency import idempotency_key
from standfest.interfaces.api.problems import Problem

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)


def scope(**headers: str | bytes) -> Scope:
    """A request with these headers."""
    pairs: list[Any] = [
        (name.replace("_", "-").encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in headers.items()
    ]
    return cast("Scope", {"headers": pairs})


@given(VISIBLE)
def test_a_key_is_the_same_bare_and_quoted(key: str) -> None:
    """Every visible key can be sent as a structured string, and most of them bare."""
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert idempotency_key(scope(idempotency_key=quoted)) == key
    if not key.startswith('"'):
        assert idempotency_key(scope(idempotency_key=f" {key}\t")) == key


@given(st.binary(max_size=300))
def test_any_other_key_is_refused_as_such(raw: bytes) -> None:
    """A key is 1 to 255 visible ASCII characters, or a problem."""
    try:
        key = idempotency_key(scope(idempotency_key=raw))
    except Problem:
        return
    assert 1 <= len(key) <= 255
    assert all("!" <= character <= "~" for character in key)


@pytest.mark.parametrize("header", ['"1"', 'W/"1"', '"0", "1"', '"0",W/"1"', "*"])
def test_if_none_match_compares_weakly(header: str) -> None:
    """Any of the tags will do, weak ones too."""
    assert unchanged(scope(if_none_match=header), 1)


@pytest.mark.parametrize("header", ['"2"', '"*"', '"11"'])
def test_if_none_match_of_another_version_does_not_hold(header: str) -> None:
    """A quoted star is a tag like any other."""
    assert not unchanged(scope(if_none_match=header), 1)


@pytest.mark.parametrize(("header", "version"), [('W/"1"', 1), ('"2"', 1), ('"*"', 1), ("*", None), ('"1"', None)])
def test_if_match_compares_strongly(header: str, version: int | None) -> None:
    """A weak tag, another version or nothing there is 412."""
    with pytest.raises(Problem) as caught:
        require_match(if_match(scope(if_match=header)), version)
    assert caught.value.status == 412


@pytest.mark.parametrize("header", ["", "1", '"1', '"1" "2"', '"a b"', "*, *"])
def test_a_malformed_condition_is_no_condition(header: str) -> None:
    """What is no list of entity tags is 400, and not silently left out."""
    with pytest.raises(Problem) as caught:
        if_match(scope(if_match=header))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("before", "after", "changed", "fine"),
    [(1, 2, True, True), (1, 1, False, True), (None, 1, True, True), (1, 3, True, False), (None, 2, True, False),
     (1, 2, False, False)],
)  # fmt: skip
def test_a_change_on_a_condition_is_one_step(before: int | None, after: int, changed: bool, fine: bool) -> None:
    """A version that moved further than this change moved it means that somebody else was there."""
    if fine:
        require_single_step(before, after, changed=changed)
        return
    with pytest.raises(Problem):
        require_single_step(before, after, changed=changed)
