"""Ids and numbers of orders."""

from __future__ import annotations

import uuid
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfest.domain.identity import ALPHABET, order_id, order_id_range, order_number

keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
hashes = st.binary(min_size=32, max_size=32)
ids = st.builds(order_id, st.uuids(), keys, hashes)


@given(st.uuids(), keys, hashes)
def test_the_same_request_has_the_same_id(client: UUID, key: str, request_hash: bytes) -> None:
    """The id is a function of client, key and request hash, and a valid UUID of version 8."""
    identifier = order_id(client, key, request_hash)
    assert identifier == order_id(UUID(str(client)), key, request_hash)
    assert (identifier.version, identifier.variant) == (8, uuid.RFC_4122)


def test_an_id_never_changes() -> None:
    """Releases and nodes agree on it for ever: this one is written down."""
    made = order_id(UUID("00000000-0000-4000-8000-000000000001"), "invoice-1", bytes(range(32)))
    assert (str(made), order_number(made)) == ("6887fe09-5c21-8af8-b986-7cf901b6c1f5", "D23Z-W2AW-46QR-M")


@given(st.uuids(), keys, hashes, st.uuids(), keys, hashes)
def test_another_request_has_another_id(a: UUID, b: str, c: bytes, d: UUID, e: str, f: bytes) -> None:
    """Each part alone makes a difference."""
    identifier = order_id(a, b, c)
    assert (order_id(d, b, c) == identifier) == (a == d)
    assert (order_id(a, e, c) == identifier) == (b == e)
    assert (order_id(a, b, f) == identifier) == (c == f)


@given(keys, st.integers(1, 254))
def test_parts_cannot_be_shifted_into_each_other(key: str, cut: int) -> None:
    """The end of a key is not the beginning of a hash: each part is preceded by its length."""
    client, digest = UUID(int=1), bytes(32)
    if cut < len(key):
        assert order_id(client, key[:cut], key[cut:].encode() + digest) != order_id(client, key, digest)


@given(ids)
def test_a_number_leads_back_to_its_id(identifier: UUID) -> None:
    """The range of a number holds the id, and its two ends have the same number."""
    number = order_number(identifier)
    found = order_id_range(number)
    assert found is not None
    assert found[0] <= identifier <= found[1]
    assert {order_number(end) for end in found} == {number}
    assert found[1].int - found[0].int == 2**62 - 1


@given(ids, st.data())
def test_a_number_may_be_typed_as_people_do(identifier: UUID, data: st.DataObject) -> None:
    """Small letters, and hyphens or spaces in other places or none, are the same number."""
    number = order_number(identifier)
    typed = number.lower().replace("-", data.draw(st.sampled_from(["", " ", "-", " - "])))
    assert order_id_range(f" {typed} ") == order_id_range(number)


@given(ids, st.integers(0, 12), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_found(identifier: UUID, place: int, wrong: str) -> None:
    """A number with one character replaced by another is not an order number."""
    compact = order_number(identifier).replace("-", "")
    if compact[place] != wrong:
        assert order_id_range(compact[:place] + wrong + compact[place + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "-", "ABCD", "I" * 13, "0" * 12, "0" * 14, "\uff10" * 13, "ß" * 13, "0" * 12 + "\x00"]
)
def test_what_is_no_number_finds_nothing(text: str) -> None:
    """Too short, too long, look-alikes and characters outside the alphabet are no order numbers."""
    assert order_id_range(text) is None


def test_a_number_has_no_look_alikes() -> None:
    """32 characters, five bits each, without I, L, O and U."""
    assert len(set(ALPHABET)) == 32
    assert not set("ILOU") & set(ALPHABET)
